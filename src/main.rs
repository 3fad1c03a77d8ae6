//! The `undertone` command.

fn main() -> anyhow::Result<()> {
    Ok(())
}
