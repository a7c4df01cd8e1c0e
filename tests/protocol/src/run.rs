//! One run: the scenarios, each rule taken out, and in a campaign whatever time is left for.

use crate::model::Scenario;
use crate::readme;
use crate::rules::{Break, Broken, BREAKS, IDLE};
use crate::scenarios;
use crate::search::{search, Limit, Outcome};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bounds the memory of one search to about two gigabytes; no scenario of every run comes near it.
const STATES_MAX: usize = 12_000_000;
/// One random scenario gets no more of a campaign than this.
const CAMPAIGN_STATES_MAX: usize = 3_000_000;

#[derive(Default)]
pub struct Arguments {
    minutes: f64,
    seed: u64,
    only: Option<String>,
    campaign: Option<u64>,
    without: Option<Break>,
    writes_readme: bool,
}

impl Arguments {
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        fn number<T: std::str::FromStr>(name: &str, text: Option<String>) -> Result<T, String> {
            let text = text.ok_or_else(|| format!("{name} needs a value"))?;
            text.parse().map_err(|_| format!("{name} {text}: not a number"))
        }
        let of = |name: &str| std::env::var(name).ok();
        let mut a = Arguments { seed: 1, ..Arguments::default() };
        if let Some(minutes) = of("KV_MODEL_MINUTES") {
            a.minutes = number("KV_MODEL_MINUTES", Some(minutes))?;
        }
        if let Some(seed) = of("KV_MODEL_SEED") {
            a.seed = number("KV_MODEL_SEED", Some(seed))?;
        }
        while let Some(word) = words.next() {
            match word.as_str() {
                "--minutes" => a.minutes = number(&word, words.next())?,
                "--seed" => a.seed = number(&word, words.next())?,
                "--campaign" => a.campaign = Some(number(&word, words.next())?),
                "--only" => a.only = Some(words.next().ok_or("--only needs a text")?),
                "--without" => {
                    let name = words.next().ok_or("--without needs a rule")?;
                    let known = BREAKS.iter().map(|b| b.0).chain(IDLE.iter().map(|b| b.0));
                    let this = known.into_iter().find(|b| format!("{b:?}") == name);
                    a.without = Some(this.ok_or_else(|| format!("no rule is called {name}"))?);
                }
                "--write-readme" => a.writes_readme = true,
                _ => return Err(format!("{word}: unknown")),
            }
        }
        Ok(a)
    }
}

pub struct Report {
    pub is_good: bool,
    pub closing: String,
}

#[derive(Default)]
struct Sums {
    states: usize,
    transitions: usize,
    searched: usize,
    exhausted: usize,
    broken: usize,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.states += outcome.states;
        self.transitions += outcome.transitions;
        self.searched += 1;
        self.exhausted += usize::from(outcome.is_exhausted && outcome.cut_off == 0);
        self.broken += usize::from(outcome.violation.is_some());
    }
}

/// Works on all items, as many at a time as there are cores; results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
                // Relaxed: only hands out numbers.
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(n) else { return };
                let result = work(item);
                results.lock().unwrap().push((n, result));
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

fn line(scenario: &Scenario, o: &Outcome) -> String {
    let end = match (&o.violation, o.is_exhausted, o.cut_off) {
        (Some(_), ..) => "BROKEN".into(),
        (None, false, _) => "NOT EXHAUSTED".into(),
        (None, true, 0) => "exhausted".into(),
        (None, true, n) => format!("NOT EXHAUSTED: no room for {n} steps"),
    };
    let Outcome { states, transitions, depth, seconds, .. } = o;
    format!(
        "{:<36} {states:>9} states {transitions:>10} transitions, depth {depth:>3}, {seconds:>6.1} s  {end}",
        scenario.name
    )
}

fn print_way(scenario: &Scenario, o: &Outcome) {
    let Some(violation) = &o.violation else { return };
    println!("  {}\n  {scenario:?}", violation.what);
    for (n, step) in violation.steps.iter().enumerate() {
        println!("  {:>3}. {step}", n + 1);
    }
}

pub fn run(a: &Arguments) -> Report {
    let began = Instant::now();
    let far = began + Duration::from_secs(24 * 3600);
    let broken = a.without.map_or(Broken::default(), Broken::one);
    if let Some(n) = a.campaign {
        return single(&scenarios::random(a.seed, n), broken, far);
    }
    let all = scenarios::all();
    if a.only.is_some() || a.without.is_some() {
        let given_for = BREAKS.iter().find(|b| Some(b.0) == a.without).map(|b| b.2);
        let name = a.only.as_deref().or(given_for).unwrap_or_default();
        let mut sums = Sums::default();
        for scenario in all.iter().filter(|s| s.name.contains(name)) {
            let o = search(scenario, broken, Limit { states_max: STATES_MAX, until: far });
            println!("{}", line(scenario, &o));
            print_way(scenario, &o);
            sums.add(&o);
        }
        let closing = format!("{} scenarios, {} broken, {} states", sums.searched, sums.broken, sums.states);
        return Report { is_good: sums.searched > 0 && (sums.broken == 0) == a.without.is_none(), closing };
    }

    println!("== every state of {} scenarios", all.len());
    let limit = Limit { states_max: STATES_MAX, until: far };
    let mut sums = Sums::default();
    for (scenario, o) in all.iter().zip(in_parallel(&all, |s| search(s, Broken::default(), limit))) {
        println!("{}", line(scenario, &o));
        print_way(scenario, &o);
        sums.add(&o);
    }
    let mut is_good = sums.broken == 0 && sums.exhausted == sums.searched;
    let mut closing = format!(
        "{} of {} scenarios exhausted without a broken promise, {} states, {} transitions, {:.0} s",
        sums.exhausted,
        sums.searched,
        sums.states,
        sums.transitions,
        began.elapsed().as_secs_f64()
    );

    println!("== each rule taken out");
    let find = |name: &str| all.iter().find(|s| s.name == name);
    let results =
        in_parallel(BREAKS, |(this, _, name, _)| Some(search(find(name)?, Broken::one(*this), limit)));
    let (mut rows, mut caught) = (Vec::new(), 0);
    for ((this, rule, name, wrong), outcome) in BREAKS.iter().zip(results) {
        match outcome.and_then(|o| o.violation) {
            Some(violation) => {
                caught += 1;
                println!("caught in {:>2} steps  {this:?} ({rule}), in \"{name}\"", violation.steps.len());
                rows.push(readme::row(*this, rule, wrong, name, &violation));
            }
            None => println!("NOT CAUGHT  {this:?} ({rule}), in \"{name}\""),
        }
    }
    let idle =
        in_parallel(IDLE, |(this, _, name, _)| find(name).map(|s| search(s, Broken::one(*this), limit)));
    let mut idle_ones = 0;
    for ((this, rule, name, _), outcome) in IDLE.iter().zip(idle) {
        let is_idle = outcome.is_some_and(|o| o.is_exhausted && o.cut_off == 0);
        idle_ones += usize::from(is_idle);
        println!(
            "{}  {this:?} ({rule}), in \"{name}\"",
            if is_idle { "idle: every state keeps the promises" } else { "NOT IDLE" }
        );
    }
    is_good &= caught == BREAKS.len() && idle_ones == IDLE.len();
    closing += &format!(
        "\n{caught} of {} rules taken out broke a promise, {idle_ones} of {} idle ones did not",
        BREAKS.len(),
        IDLE.len()
    );
    if a.writes_readme {
        readme::write(&rows);
    } else if !readme::is_current(&rows) {
        is_good = false;
        closing += "\nREADME.md tells another table: write it anew with --write-readme";
    }

    if a.minutes > 0.0 {
        let until = began + Duration::from_secs_f64(a.minutes * 60.0);
        let sums = campaign(a.seed, until);
        is_good &= sums.broken == 0;
        closing += &format!(
            "\ncampaign of seed {}: {} scenarios, {} exhausted, {} broken, {} states, {} transitions, {:.0} s in all",
            a.seed, sums.searched, sums.exhausted, sums.broken, sums.states, sums.transitions, began.elapsed().as_secs_f64()
        );
    }
    Report { is_good, closing }
}

fn single(scenario: &Scenario, broken: Broken, until: Instant) -> Report {
    let o = search(scenario, broken, Limit { states_max: STATES_MAX, until });
    println!("{}", line(scenario, &o));
    print_way(scenario, &o);
    Report { is_good: o.violation.is_none(), closing: format!("{} states", o.states) }
}

/// Random scenarios until the time is over; each that is broken or not exhausted is told.
fn campaign(seed: u64, until: Instant) -> Sums {
    println!("== random scenarios of seed {seed}");
    let next = AtomicUsize::new(0);
    let sums = Mutex::new(Sums::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < until {
                    // Relaxed: only hands out numbers.
                    let n = next.fetch_add(1, Ordering::Relaxed) as u64;
                    let scenario = scenarios::random(seed, n);
                    let o = search(
                        &scenario,
                        Broken::default(),
                        Limit { states_max: CAMPAIGN_STATES_MAX, until },
                    );
                    let mut sums = sums.lock().unwrap();
                    sums.add(&o);
                    if o.violation.is_some() {
                        println!("{}", line(&scenario, &o));
                        print_way(&scenario, &o);
                    }
                    if sums.searched % 500 == 0 {
                        println!(
                            "{} scenarios, {} exhausted, {} states",
                            sums.searched, sums.exhausted, sums.states
                        );
                    }
                }
            });
        }
    });
    sums.into_inner().unwrap()
}
