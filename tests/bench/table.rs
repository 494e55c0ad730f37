//! Pairs of figures become medians, ratios with their spread, and Markdown.

use std::fmt::Write as _;

/// What one run of one workload came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Decimal megabytes, or operations, per second.
    pub(crate) rate: f64,
    /// Processor time of clients and nodes: seconds per GiB, or microseconds per operation.
    pub(crate) cpu: f64,
}

struct Row {
    name: &'static str,
    pairs: Vec<(Figure, Option<Figure>)>,
}

/// All workloads, in the order they were first added.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// The median with the least and the most, to three significant digits.
/// Which number of a figure.
type Of = fn(&Figure) -> f64;

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return "–".to_owned() };
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    format!("{} ({}–{})", digits(median), digits(*least), digits(*most))
}

fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

impl Table {
    pub(crate) fn add(&mut self, name: &'static str, ours: Figure, ideal: Option<Figure>) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.pairs.push((ours, ideal)),
            None => self.rows.push(Row { name, pairs: vec![(ours, ideal)] }),
        }
    }

    /// All of it, with what the two of each pair are called.
    pub(crate) fn markdown(&self, conditions: &str, (one, other): (&str, &str)) -> String {
        let mut text = format!("{conditions}\n\n| workload | unit | {one} | {other} | {one} / {other} ");
        let _ = writeln!(text, "| CPU {one} | CPU {other} | CPU {one} / {other} |");
        text += "|---|---|---|---|---|---|---|---|\n";
        for Row { name, pairs } in &self.rows {
            let unit = if name.starts_with("4 KiB") { "ops/s, CPU µs/op" } else { "MB/s, CPU s/GiB" };
            let ours = |of: fn(&Figure) -> f64| spread(pairs.iter().map(|(ours, _)| of(ours)).collect());
            let ideal = |of: fn(&Figure) -> f64| {
                spread(pairs.iter().filter_map(|(_, ideal)| ideal.as_ref().map(of)).collect())
            };
            let ratio = |of: fn(&Figure) -> f64| {
                let ratio = |(ours, ideal): &(Figure, Option<Figure>)| {
                    ideal.as_ref().map(|ideal| of(ours) / of(ideal))
                };
                spread(pairs.iter().filter_map(ratio).collect())
            };
            let (rate, cpu): (Of, Of) = (|figure| figure.rate, |figure| figure.cpu);
            let _ = writeln!(
                text,
                "| {name} | {unit} | {} | {} | {} | {} | {} | {} |",
                ours(rate),
                ideal(rate),
                ratio(rate),
                ours(cpu),
                ideal(cpu),
                ratio(cpu)
            );
        }
        text
    }
}
