//! The table of commands: names, numbers of arguments, where keys stand.

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes data: goes through the log.
    Write,
    /// Reads data: behind a read barrier.
    Read,
    /// Concerns the connection or the server only.
    Local,
}

/// Where keys stand among the arguments, the name being number 0. All zero: there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) first: i64,
    /// Counted from the end if negative.
    pub(crate) last: i64,
    pub(crate) step: i64,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) op: Op,
    pub(crate) name: &'static str,
    /// With the name; negative: at least so many.
    pub(crate) arity: i64,
    pub(crate) kind: Kind,
    pub(crate) keys: Keys,
}

const NO_KEYS: Keys = Keys { first: 0, last: 0, step: 0 };
const ONE_KEY: Keys = Keys { first: 1, last: 1, step: 1 };
const ALL_KEYS: Keys = Keys { first: 1, last: -1, step: 1 };

macro_rules! commands {
    ($($op:ident = $code:literal, $name:literal, $arity:literal, $kind:ident, $keys:expr;)*) => {
        /// A command. The numbers of those that go through the log stand in journals: never change one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Op {
            $(
                #[doc = $name]
                $op = $code,
            )*
        }

        /// All commands.
        pub(crate) static COMMANDS: &[Spec] = &[
            $(Spec { op: Op::$op, name: $name, arity: $arity, kind: Kind::$kind, keys: $keys },)*
        ];

        impl Op {
            /// The command of a number in the log.
            pub(crate) const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$op),)*
                    _ => None,
                }
            }

            /// What it needs.
            pub(crate) const fn kind(self) -> Kind {
                match self {
                    $(Self::$op => Kind::$kind,)*
                }
            }
        }
    };
}

commands! {
    Get = 1, "get", 2, Read, ONE_KEY;
    Set = 2, "set", -3, Write, ONE_KEY;
    GetSet = 3, "getset", 3, Write, ONE_KEY;
    GetDel = 4, "getdel", 2, Write, ONE_KEY;
    MGet = 5, "mget", -2, Read, ALL_KEYS;
    MSet = 6, "mset", -3, Write, Keys { first: 1, last: -1, step: 2 };
    Del = 7, "del", -2, Write, ALL_KEYS;
    Exists = 8, "exists", -2, Read, ALL_KEYS;
    Incr = 9, "incr", 2, Write, ONE_KEY;
    Decr = 10, "decr", 2, Write, ONE_KEY;
    IncrBy = 11, "incrby", 3, Write, ONE_KEY;
    DecrBy = 12, "decrby", 3, Write, ONE_KEY;
    Append = 13, "append", 3, Write, ONE_KEY;
    StrLen = 14, "strlen", 2, Read, ONE_KEY;
    SetNx = 15, "setnx", 3, Write, ONE_KEY;
    Cas = 16, "cas", 4, Write, ONE_KEY;
    RPush = 17, "rpush", -3, Write, ONE_KEY;
    LPush = 18, "lpush", -3, Write, ONE_KEY;
    LRange = 19, "lrange", 4, Read, ONE_KEY;
    LLen = 20, "llen", 2, Read, ONE_KEY;
    LPop = 21, "lpop", -2, Write, ONE_KEY;
    RPop = 22, "rpop", -2, Write, ONE_KEY;
    HSet = 23, "hset", -4, Write, ONE_KEY;
    HGet = 24, "hget", 3, Read, ONE_KEY;
    HDel = 25, "hdel", -3, Write, ONE_KEY;
    HGetAll = 26, "hgetall", 2, Read, ONE_KEY;
    HIncrBy = 27, "hincrby", 4, Write, ONE_KEY;
    HLen = 28, "hlen", 2, Read, ONE_KEY;
    SAdd = 29, "sadd", -3, Write, ONE_KEY;
    SRem = 30, "srem", -3, Write, ONE_KEY;
    SMembers = 31, "smembers", 2, Read, ONE_KEY;
    SIsMember = 32, "sismember", 3, Read, ONE_KEY;
    SCard = 33, "scard", 2, Read, ONE_KEY;
    Keys = 34, "keys", 2, Read, NO_KEYS;
    Scan = 35, "scan", -2, Read, NO_KEYS;
    DbSize = 36, "dbsize", 1, Read, NO_KEYS;
    FlushAll = 37, "flushall", -1, Write, NO_KEYS;
    Type = 38, "type", 2, Read, ONE_KEY;
    Ping = 128, "ping", -1, Local, NO_KEYS;
    Echo = 129, "echo", 2, Local, NO_KEYS;
    Hello = 130, "hello", -1, Local, NO_KEYS;
    Auth = 131, "auth", -2, Local, NO_KEYS;
    Select = 132, "select", 2, Local, NO_KEYS;
    Quit = 133, "quit", -1, Local, NO_KEYS;
    Reset = 134, "reset", 1, Local, NO_KEYS;
    Client = 135, "client", -2, Local, NO_KEYS;
    Command = 136, "command", -1, Local, NO_KEYS;
    Info = 137, "info", -1, Local, NO_KEYS;
    Config = 138, "config", -2, Local, NO_KEYS;
    Multi = 139, "multi", 1, Local, NO_KEYS;
    Exec = 140, "exec", 1, Local, NO_KEYS;
    Discard = 141, "discard", 1, Local, NO_KEYS;
    Watch = 142, "watch", -2, Local, ALL_KEYS;
    Unwatch = 143, "unwatch", 1, Local, NO_KEYS;
    Cluster = 144, "cluster", -2, Local, NO_KEYS;
    ReadOnly = 145, "readonly", 1, Local, NO_KEYS;
    ReadWrite = 146, "readwrite", 1, Local, NO_KEYS;
    Raft = 147, "raft", -2, Local, NO_KEYS;
}

/// The longest name in the table, in bytes.
const LONGEST: usize = 16;

/// The row of a name, in any case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    // What most clients send most of the time.
    if name.eq_ignore_ascii_case(b"set") {
        return COMMANDS.get(1);
    }
    if name.eq_ignore_ascii_case(b"get") {
        return COMMANDS.first();
    }
    if name.len() > LONGEST {
        return None;
    }
    COMMANDS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes()))
}

impl Spec {
    /// Whether a command may have so many arguments, its name included.
    pub(crate) fn takes(&self, count: usize) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.arity < 0 { count >= -self.arity } else { count == self.arity }
    }

    /// The keys among the arguments, the name included.
    pub(crate) fn keys<'a, T: AsRef<[u8]>>(&self, args: &'a [T]) -> impl Iterator<Item = &'a [u8]> {
        let Keys { first, last, step } = self.keys;
        let count = i64::try_from(args.len()).unwrap_or(0);
        let last = if last < 0 { count + last } else { last };
        let step = usize::try_from(step).unwrap_or(0).max(1);
        let first = usize::try_from(first).unwrap_or(0);
        let end = if first == 0 { 0 } else { usize::try_from(last + 1).unwrap_or(0) };
        args.iter().take(end).skip(first).step_by(step).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_again() {
        for spec in COMMANDS {
            assert_eq!(find(spec.name.as_bytes()).unwrap().op, spec.op);
            assert_eq!(find(spec.name.to_uppercase().as_bytes()).unwrap().op, spec.op);
            assert_eq!(Op::from_code(spec.op as u8), Some(spec.op));
            assert!(spec.name.len() <= LONGEST);
        }
        assert!(find(b"").is_none());
        assert!(find(b"nosuch").is_none());
        assert_eq!(Op::from_code(0), None);
    }

    #[test]
    fn keys_are_where_the_table_says() {
        let keys = |line: &str| {
            let args: Vec<&str> = line.split(' ').collect();
            let spec = find(args[0].as_bytes()).unwrap();
            let found = spec.keys(&args).map(|key| String::from_utf8(key.to_vec()).unwrap());
            found.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys("get a"), "a");
        assert_eq!(keys("set a 1 nx"), "a");
        assert_eq!(keys("mset a 1 b 2"), "a b");
        assert_eq!(keys("del a b c"), "a b c");
        assert_eq!(keys("scan 0"), "");
        assert_eq!(keys("ping x"), "");
    }
}
