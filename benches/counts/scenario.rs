//! What every counted program does with its arguments: `NAME ROUNDS` runs one scenario and says how many units of work that were;
//! anything else lists the names.

/// A scenario: does so many rounds of its work, and says how many units those were.
pub(crate) type Scenario = fn(usize) -> usize;

/// Runs what the arguments ask for.
pub(crate) fn main(scenarios: &[(&str, Scenario)]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = arguments.as_slice() else {
        scenarios.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let scenario = scenarios.iter().find(|(known, _)| known == name);
    match (scenario, rounds.parse()) {
        (Some((_, scenario)), Ok(rounds)) => println!("{}", scenario(rounds)),
        _ => panic!("no scenario {name}, or {rounds} is no number of rounds"),
    }
}
