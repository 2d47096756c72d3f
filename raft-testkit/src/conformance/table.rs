//! What each suite makes of its table.

/// `CLAUSES`, `names` and `run` of a suite whose backends are of the trait that comes first; what is said of `CLAUSES`
/// and `run` stands before them. Each clause has its name, the module that has the function of that name, and what the
/// contract says.
#[doc(hidden)]
#[macro_export]
macro_rules! __suite_table {
    (
        { $backend:ident $(#[$of_clauses:meta])* CLAUSES $(#[$of_run:meta])* run }
        $($name:ident $module:ident $sentence:literal)*
    ) => {
        $(#[$of_clauses])*
        pub const CLAUSES: &[Clause] = &[$(Clause { name: stringify!($name), sentence: $sentence }),*];

        /// The names, for skipping and as an index.
        #[expect(non_upper_case_globals, reason = "they are the names of tests")]
        pub mod names {
            $(
                #[doc = $sentence]
                pub const $name: &str = stringify!($name);
            )*
        }

        $(#[$of_run])*
        pub async fn run<B: $backend>(backend: &B, name: &str) -> Result<(), ClauseFailure> {
            let Some(clause) = CLAUSES.iter().find(|clause| clause.name == name) else {
                return Err(fail("a clause of this suite", name));
            };
            let run = async {
                match clause.name {
                    $(stringify!($name) => super::$module::$name(backend).await,)*
                    other => Err(fail("a clause of this suite", other)),
                }
            };
            within_deadline(clause, run).await
        }
    };
}
