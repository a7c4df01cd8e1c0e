//! Figures, and what is said of them.

use serde::{Deserialize, Serialize};

/// What was measured of one peer in one case, each repetition by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// The table that it stands in.
    pub part: String,
    pub case: String,
    pub peer: String,
    pub samples: Vec<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub measure: String,
    pub target: String,
    pub reached: String,
    pub holds: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub host: Vec<String>,
    pub figures: Vec<Figure>,
    pub targets: Vec<Target>,
}

pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// Lowest and highest.
pub fn range(samples: &[f64]) -> (f64, f64) {
    samples.iter().fold((f64::MAX, f64::MIN), |(low, high), sample| (low.min(*sample), high.max(*sample)))
}

/// Of what ran in the same round, so that the machine's drift meets both sides: median, lowest and highest.
pub struct Ratio {
    pub median: f64,
    pub range: (f64, f64),
}

pub fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
    let pairs: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    Ratio { median: median(&pairs), range: range(&pairs) }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:.2} × ({:.2} to {:.2})", self.median, self.range.0, self.range.1)
    }
}

/// Operations a second, in short.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 10e6 => format!("{:.1} M/s", r / 1e6),
        r if r >= 1e6 => format!("{:.2} M/s", r / 1e6),
        r if r >= 10e3 => format!("{:.0} k/s", r / 1e3),
        r if r >= 1e3 => format!("{:.1} k/s", r / 1e3),
        r => format!("{r:.0}/s"),
    }
}

impl Results {
    pub fn add(&mut self, part: &str, case: &str, peer: &str, sample: f64) {
        let same = |f: &&mut Figure| f.part == part && f.case == case && f.peer == peer;
        match self.figures.iter_mut().find(same) {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure {
                part: part.into(),
                case: case.into(),
                peer: peer.into(),
                samples: vec![sample],
            }),
        }
    }

    pub fn get(&self, part: &str, case: &str, peer: &str) -> Option<&[f64]> {
        let found = self.figures.iter().find(|f| f.part == part && f.case == case && f.peer == peer);
        found.map(|figure| &figure.samples[..])
    }

    /// A target that is a quantity of ours that must be more than another by a factor.
    pub fn at_least(&mut self, measure: &str, limit: f64, ours: &[f64], theirs: &[f64], said: String) {
        let found = ratio(ours, theirs);
        self.targets.push(Target {
            measure: measure.into(),
            target: format!("≥ {limit} ×"),
            reached: format!("{found}; {said}"),
            holds: found.median >= limit,
        });
    }

    /// A target that is a quantity of ours that must not exceed another by more than a factor.
    pub fn at_most(&mut self, measure: &str, limit: f64, ours: &[f64], theirs: &[f64], said: String) {
        let found = ratio(ours, theirs);
        self.targets.push(Target {
            measure: measure.into(),
            target: format!("≤ {limit} ×"),
            reached: format!("{found}; {said}"),
            holds: found.median <= limit,
        });
    }
}
