//! Compiles the `.proto` without protoc: to Rust, and to the descriptor that reflection serves.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_file("raft/v1/raft.proto")?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("raft.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .codec_path("crate::codec::FrameCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
