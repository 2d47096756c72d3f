//! One node of a tally: `tally ID FOLDER ADDRESS,ADDRESS,...`. It reads `vote NAME COUNT` and `votes NAME` from its
//! standard input, and stops at its end.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use guide::outcomes::{Reply, read, write};
use guide::stacks::file_and_tcp;
use guide::tally::{Answer, Ask};
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use raft_core::node::typed::{decode, encode};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tally: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, data, addresses] = &arguments[..] else {
        return Err("tally ID FOLDER ADDRESS,ADDRESS,...".into());
    };
    let id = NodeId(id.parse()?);
    let members = (1..).zip(addresses.split(',')).map(|(id, address)| Member::new(NodeId(id), address));
    let founders = Membership::of_voters(members)?;
    let me = founders.member(id).ok_or("this node has no address in the list")?;
    let listen = me.address.parse().map_err(|error| format!("{}: {error}", me.address))?;
    let (node, tally) = file_and_tcp(id, Path::new(data), listen, Some(&founders)).await?;

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["vote", name, count] => {
                let ask = Ask::Vote(name.into(), count.parse().unwrap_or(0));
                match write(&node, encode(&ask)?).await {
                    Reply::Done(answer) => println!("{:?}", decode::<Answer>(&answer)?),
                    other => println!("{other:?}"),
                }
            }
            ["votes", name] => println!("{}", read(&node, || tally.votes(name)).await?),
            _ => println!("vote NAME COUNT, or votes NAME"),
        }
    }
    node.shutdown().await?;
    Ok(())
}
