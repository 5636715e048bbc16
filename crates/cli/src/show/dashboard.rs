//! A run on a terminal: the loss curve, speed, time left, the latest sample.

use super::monitor::{Monitor, RunFacts};
use super::{lines, number, prose};
use crate::run::log::{StepRow, ValidationRow};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Wrap};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use std::io::{self, Stdout};
use std::time::{Duration, Instant};

const HEIGHT: u16 = 20;
const REDRAW: Duration = Duration::from_millis(150);
/// Points kept of the curve; beyond, every second one is dropped.
const MOST_POINTS: usize = 1000;

/// Redraws a block of lines at the bottom of the terminal.
pub struct Dashboard {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    facts: RunFacts,
    losses: Vec<(f64, f64)>,
    /// Only every `stride`-th step is kept.
    stride: u64,
    validations: Vec<(f64, f64)>,
    latest: Option<(StepRow, Option<Duration>)>,
    sample: Option<(u64, String)>,
    drawn: Option<Instant>,
    is_finished: bool,
}

impl Dashboard {
    /// Takes lines at the bottom of the terminal.
    ///
    /// # Errors
    /// When the terminal does not say where its cursor is.
    pub fn new(facts: RunFacts) -> io::Result<Self> {
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
        let (losses, validations) = (facts.losses.clone(), facts.validations.clone());
        Ok(Self {
            terminal,
            facts,
            losses,
            stride: 1,
            validations,
            latest: None,
            sample: None,
            drawn: None,
            is_finished: false,
        })
    }

    fn draw(&mut self, now: bool) {
        if !now && self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let picture = Picture {
            facts: &self.facts,
            losses: &self.losses,
            validations: &self.validations,
            latest: self.latest.as_ref(),
            sample: self.sample.as_ref(),
        };
        // A terminal that cannot be drawn on any more must not end the run.
        let _ = self.terminal.draw(|frame| picture.draw(frame));
    }
}

impl Dashboard {
    /// Draws everything anew, so that nothing stays of what the terminal or other programs wrote over it.
    fn repaint(&mut self) {
        let _ = self.terminal.clear();
        self.draw(true);
    }
}

impl Monitor for Dashboard {
    fn step(&mut self, row: &StepRow, left: Option<Duration>) {
        if row.step.is_multiple_of(self.stride) {
            self.losses.push((row.step as f64, row.loss));
        }
        if self.losses.len() > MOST_POINTS {
            let mut keep = false;
            self.losses.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
        self.latest = Some((row.clone(), left));
        let is_last = row.step == self.facts.n_steps;
        self.draw(is_last);
    }

    fn validation(&mut self, row: &ValidationRow) {
        self.validations.push((row.step as f64, row.validation_loss));
        self.repaint();
    }

    fn sample(&mut self, step: u64, text: &str) {
        self.sample = Some((step, text.to_owned()));
        self.repaint();
    }

    fn note(&mut self, text: &str) {
        let width = self.terminal.get_frame().area().width;
        let lines = prose::lines(text, usize::from(width));
        let height = u16::try_from(lines.len()).unwrap_or(1);
        let _ = self.terminal.insert_before(height, |buffer| {
            for (row, line) in lines.iter().enumerate() {
                buffer.set_stringn(0, row as u16, line, buffer.area.width as usize, Style::new());
            }
        });
        self.draw(true);
    }

    fn finish(&mut self) {
        if !self.is_finished {
            self.is_finished = true;
            self.repaint();
            // What is printed from here on comes below the picture.
            let bottom = self.terminal.get_frame().area().bottom().saturating_sub(1);
            let _ = self.terminal.set_cursor_position((0, bottom));
            let _ = self.terminal.show_cursor();
            println!();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Everything on the screen at one moment.
struct Picture<'d> {
    facts: &'d RunFacts,
    losses: &'d [(f64, f64)],
    validations: &'d [(f64, f64)],
    latest: Option<&'d (StepRow, Option<Duration>)>,
    sample: Option<&'d (u64, String)>,
}

impl Picture<'_> {
    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [Constraint::Length(1), Constraint::Min(8), Constraint::Length(1), Constraint::Length(2)];
        let [title, middle, gauge, figures] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Line::from(self.facts.title.as_str()).bold(), title);
        match self.sample {
            Some(sample) if middle.width >= 90 => {
                let columns = [Constraint::Percentage(62), Constraint::Percentage(38)];
                let [curve, beside] = Layout::horizontal(columns).areas(middle);
                self.draw_curve(frame, curve);
                draw_sample(frame, beside, sample);
            }
            _ => self.draw_curve(frame, middle),
        }
        self.draw_progress(frame, gauge);
        self.draw_figures(frame, figures);
    }

    fn draw_curve(&self, frame: &mut Frame<'_>, area: Rect) {
        let [x, y] = self.bounds();
        let floor = self.facts.floor_nats.map(|floor| [(x[0], floor), (x[1], floor)]);
        let line = |name: &'static str, data, color| {
            Dataset::default().name(name).marker(Marker::Braille).graph_type(GraphType::Line).style(color).data(data)
        };
        let mut curves = vec![line("loss", self.losses, Color::Cyan)];
        if !self.validations.is_empty() {
            let dots = Dataset::default().name("validation").marker(Marker::Dot).graph_type(GraphType::Scatter);
            curves.push(dots.style(Color::Yellow).data(self.validations));
        }
        if let Some(floor) = &floor {
            curves.push(line("floor", floor, Color::Green));
        }
        let label = |value: f64| format!("{value:.2}");
        let y_axis = Axis::default().bounds(y).labels([label(y[0]), label((y[0] + y[1]) / 2.0), label(y[1])]);
        let x_axis = Axis::default().bounds(x).labels([number::count(x[0]), number::count(x[1])]);
        let chart =
            Chart::new(curves).block(Block::bordered().title(" loss, nats per token ")).x_axis(x_axis).y_axis(y_axis);
        frame.render_widget(chart, area);
    }

    /// The first losses are far above the rest and would press the curve flat, so the top follows what came later.
    fn bounds(&self) -> [[f64; 2]; 2] {
        let last = self.losses.last().map_or(1.0, |point| point.0).max(1.0);
        let settled = &self.losses[self.losses.len() / 20..];
        let values = || settled.iter().chain(self.validations).map(|point| point.1).filter(|loss| loss.is_finite());
        let low = values().chain(self.facts.floor_nats).fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        let y = if low < high { [low - 0.05 * (high - low), high] } else { [0.0, 1.0] };
        [[0.0, last], y]
    }

    fn draw_progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some((row, left)) = self.latest else { return };
        let ratio = (row.step as f64 / self.facts.n_steps.max(1) as f64).clamp(0.0, 1.0);
        let left = left.map_or_else(String::new, |left| format!(", {} left", number::duration(left)));
        let label = format!("step {} of {}{left}", row.step, self.facts.n_steps);
        frame.render_widget(Gauge::default().ratio(ratio).label(label).gauge_style(Color::Blue), area);
    }

    fn draw_figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some((row, _)) = self.latest else { return };
        let speed = lines::step_line(self.facts, row, None);
        let validation = self.validations.last().map_or_else(String::new, |(step, loss)| {
            let floor = self.facts.floor_nats.map_or_else(String::new, |floor| {
                format!(", {:.1} % above the floor of {floor:.4}", 100.0 * (loss / floor - 1.0))
            });
            format!("validation loss {loss:.4} at step {step}{floor}")
        });
        frame.render_widget(Paragraph::new(vec![Line::from(speed), Line::from(validation)]), area);
    }
}

fn draw_sample(frame: &mut Frame<'_>, area: Rect, (step, text): &(u64, String)) {
    let block = Block::bordered().title(format!(" a sample at step {step} "));
    frame.render_widget(Paragraph::new(text.as_str()).wrap(Wrap { trim: false }).block(block), area);
}
