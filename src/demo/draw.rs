//! The client's timeline and the closing table as text. Pure: answers in, lines out.

use super::probe::Answer;

/// Width of a timeline in cells; a line with its margin fits 80 columns.
pub const WIDTH: usize = 72;
/// A shorter cell would show the pace of asking as gaps.
const CELL_MIN_US: u64 = 2_000;

const RESET: &str = "\x1b[0m";
/// Colours of the hosts in turn: green, blue, yellow, magenta.
const HOST_COLOURS: [&str; 4] = ["\x1b[32m", "\x1b[34m", "\x1b[33m", "\x1b[35m"];
const SILENT_COLOUR: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";

/// How to draw: for a terminal with colours, or with letters alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Coloured blocks.
    Colour,
    /// A digit per host, dots for silence.
    Plain,
}

impl Style {
    /// Text that stands out.
    pub fn strong(self, text: &str) -> String {
        match self {
            Self::Colour => format!("{BOLD}{text}{RESET}"),
            Self::Plain => text.to_owned(),
        }
    }

    /// One cell's colour and sign. Hosts are numbered from 1.
    fn sign(self, cell: Option<u8>) -> (&'static str, char) {
        match (self, cell) {
            (Self::Colour, Some(host)) => {
                (HOST_COLOURS[usize::from(host.saturating_sub(1)) % HOST_COLOURS.len()], '█')
            }
            (Self::Colour, None) => (SILENT_COLOUR, '·'),
            (Self::Plain, Some(host)) => ("", char::from(b'0' + host % 10)),
            (Self::Plain, None) => ("", '.'),
        }
    }
}

/// Who answered in each of equal parts of a time: the last one, `None` for nobody. At most
/// [`WIDTH`] parts, none shorter than 2 ms.
pub fn cells(answers: &[Answer], from_us: u64, until_us: u64) -> Vec<Option<u8>> {
    let span = until_us.saturating_sub(from_us);
    let cell_us = span.div_ceil(WIDTH as u64).max(CELL_MIN_US);
    let mut cells = vec![None; span.div_ceil(cell_us) as usize];
    for answer in answers.iter().filter(|answer| answer.at_us >= from_us && answer.at_us < until_us) {
        cells[((answer.at_us - from_us) / cell_us) as usize] = Some(answer.host);
    }
    cells
}

/// A timeline in one line, without its end of line.
pub fn timeline(cells: &[Option<u8>], style: Style) -> String {
    let mut line = String::new();
    let mut current = "";
    for &cell in cells {
        let (colour, sign) = style.sign(cell);
        if colour != current {
            line.push_str(colour);
            current = colour;
        }
        line.push(sign);
    }
    if !current.is_empty() {
        line.push_str(RESET);
    }
    line
}

/// What the signs of a timeline mean.
pub fn legend(hosts: &[&str], style: Style) -> String {
    let hosts = hosts.iter().zip(1..).map(|(name, index)| (Some(index), format!("{name} answers")));
    let parts = hosts.chain([(None, "nobody does".to_owned())]);
    let parts: Vec<String> =
        parts.map(|(cell, text)| format!("{} {text}", timeline(&[cell], style))).collect();
    parts.join("   ")
}

/// A table with left-aligned first and right-aligned other columns; the first row is the heading.
pub fn table(rows: &[Vec<String>], style: Style) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| length(row, column)).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        let line = cells.join("   ");
        let line = line.trim_end();
        text.push_str(&if number == 0 { style.strong(line) } else { line.to_owned() });
        text.push('\n');
    }
    text
}

/// Microseconds as milliseconds with a precision that suits a pace of one millisecond.
pub fn milliseconds(us: u64) -> String {
    match us {
        0..100_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{} ms", (us + 500) / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at_us: u64, host: u8) -> Answer {
        Answer { at_us, delay_us: 50, host }
    }

    #[test]
    fn a_gap_between_two_hosts_is_drawn() {
        let answers: Vec<Answer> =
            (0..20).map(|ms| answer(ms * 1000, 1)).chain((40..60).map(|ms| answer(ms * 1000, 2))).collect();
        let cells = cells(&answers, 0, 60_000);
        assert_eq!(timeline(&cells, Style::Plain), "1111111111..........2222222222");
    }

    #[test]
    fn a_long_time_fits_the_width() {
        let answers: Vec<Answer> = (0..60_000).map(|ms| answer(ms * 1000, 2)).collect();
        let line = timeline(&cells(&answers, 0, 60_000_000), Style::Plain);
        assert_eq!(line, "2".repeat(WIDTH));
        assert!(cells(&answers, 10, 10).is_empty());
        assert!(cells(&answers, 10, 5).is_empty());
    }

    #[test]
    fn colours_change_only_where_the_host_does_and_are_reset() {
        let line = timeline(&[Some(1), Some(1), None, Some(2)], Style::Colour);
        assert_eq!(line, "\x1b[32m██\x1b[31m·\x1b[34m█\x1b[0m");
        assert_eq!(timeline(&[], Style::Colour), "");
        assert_eq!(legend(&["node1"], Style::Plain), "1 node1 answers   . nobody does");
    }

    #[test]
    fn table_columns_are_aligned() {
        let rows = [["step", "outage"], ["crash", "1.0 ms"], ["return of node1", "-"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        let text = table(&rows, Style::Plain);
        assert_eq!(text, "step              outage\ncrash             1.0 ms\nreturn of node1        -\n");
    }

    #[test]
    fn times_are_rounded_as_people_read_them() {
        for (us, text) in
            [(0, "0.0 ms"), (1_250, "1.2 ms"), (99_999, "99.9 ms"), (270_499, "270 ms"), (270_500, "271 ms")]
        {
            assert_eq!(milliseconds(us), text);
        }
    }
}
