//! Replays one input: `cargo run -p epione-fuzz --example replay -- TARGET FILE`; of `replica` it tells the story.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, target, file] = arguments.as_slice() else { panic!("replay TARGET FILE") };
    let input = std::fs::read(file).unwrap();
    let (_, check) = epione_fuzz::TARGETS.iter().find(|(name, _)| name == target).expect("a target");
    let outcome = if target == "replica" {
        epione_fuzz::replica::play(&input, &mut |line| println!("{line}"))
    } else {
        check(&input)
    };
    println!("{outcome:?}");
}
