//! The figures as bars: `benchmarks.svg`, `benchmarks.png`.

use crate::child::Work;
use crate::engine::Level;
use crate::keys::Spread;
use crate::parts::{case, part, SMALL};
use crate::peers;
use crate::results::{median, range, rate, Results};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// Debian's package fonts-dejavu-core.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const SIZE: (u32, u32) = (880, 780);
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xa9, 0xb4, 0xc0);

struct Panel {
    title: &'static str,
    part: String,
    case: String,
}

fn panels() -> [Panel; 6] {
    let panel = |title, level, work, threads| Panel {
        title,
        part: part(level, SMALL),
        case: case(work, Spread::Uniform, threads),
    };
    [
        panel("in memory: get", Level::Memory, Work::Get, 1),
        panel("in memory: set of existing keys", Level::Memory, Work::Overwrite, 1),
        panel("persistent: get", Level::ProcessCrash, Work::Get, 1),
        panel("persistent: set, process crash", Level::ProcessCrash, Work::Overwrite, 1),
        panel("persistent: set, power loss", Level::PowerLoss, Work::Overwrite, 1),
        panel("persistent: set, power loss, 32 threads", Level::PowerLoss, Work::Overwrite, 32),
    ]
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

pub fn draw(results: &Results, out: &Path) {
    let font: &'static [u8] = std::fs::read(FONT).expect("a font: Debian's package fonts-dejavu-core").leak();
    plotters::style::register_font("sans-serif", FontStyle::Normal, font).ok().expect("a font");
    let (svg, png) = (out.join("benchmarks.svg"), out.join("benchmarks.png"));
    draw_all(results, SVGBackend::new(&svg, SIZE).into_drawing_area()).expect("a drawing");
    let mut pixels = vec![0; SIZE.0 as usize * SIZE.1 as usize * 3];
    draw_all(results, BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area()).expect("a drawing");
    let mut encoder = png::Encoder::new(std::fs::File::create(png).expect("a file"), SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().and_then(|mut image| image.write_image_data(&pixels)).expect("an image");
}

fn draw_all<B: DrawingBackend>(results: &Results, area: DrawingArea<B, Shift>) -> Drawn
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(34);
    let style = TextStyle::from(("sans-serif", 15).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
    head.draw_text(
        "Operations a second: uniform keys, values of 100 bytes; median, lowest and highest",
        &style,
        (14, 20),
    )?;
    for (panel, area) in panels().iter().zip(body.split_evenly((3, 2))) {
        draw_panel(results, panel, &area)?;
    }
    area.present()?;
    Ok(())
}

/// A bar for each peer, its length in proportion.
fn draw_panel<B: DrawingBackend>(results: &Results, panel: &Panel, area: &DrawingArea<B, Shift>) -> Drawn
where
    B::ErrorType: 'static,
{
    const LEFT: i32 = 130;
    const TOP: i32 = 30;
    let text = |size: i32, across| {
        TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(across, VPos::Center))
    };
    area.draw_text(panel.title, &text(14, HPos::Left), (14, 14))?;
    let measured = peers::all()
        .into_iter()
        .filter_map(|peer| Some((peer.name, results.get(&panel.part, &panel.case, peer.name)?)));
    let bars: Vec<_> = measured.collect();
    let longest = bars.iter().map(|(_, samples)| range(samples).1).fold(1.0, f64::max);
    let (width, height) = area.dim_in_pixel();
    let pitch = (height as i32 - TOP - 8) / bars.len().max(1) as i32;
    let x = |value: f64| LEFT + (value / longest * f64::from(width as i32 - LEFT - 90)) as i32;
    for (row, (name, samples)) in (0i32..).zip(&bars) {
        let (top, bottom) = (TOP + row * pitch + 3, TOP + (row + 1) * pitch - 3);
        let (middle, (low, high)) = ((top + bottom) / 2, range(samples));
        let color = if *name == peers::LIBKV { OURS } else { THEIRS };
        area.draw_text(name, &text(12, HPos::Right), (LEFT - 8, middle))?;
        area.draw(&Rectangle::new(
            [(LEFT, top), (x(median(samples)).max(LEFT + 1), bottom)],
            color.filled(),
        ))?;
        area.draw(&PathElement::new([(x(low), middle), (x(high), middle)], BLACK))?;
        area.draw_text(&rate(median(samples)), &text(12, HPos::Left), (x(high) + 6, middle))?;
    }
    Ok(())
}
