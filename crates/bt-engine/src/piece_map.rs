//! Draws a torrent's pieces for a user as cells: as many as fit on a line, whatever the number of
//! pieces.
//!
//! Decides: the content of a cell for the pieces behind it. Must not know: how cells are displayed.
//! Invariant: every piece is behind exactly one cell.

use alloc::vec::Vec;
use bt_model::MapCell;
use bt_types::{Bitfield, Piece};

/// Most cells of a map: they fit on a line.
const CELLS_MAX: u32 = 128;

/// Makes the map of a torrent: pieces that are there, pieces wanted and missing, and pieces under
/// way.
pub(crate) fn cells(
    have: &Bitfield,
    missing: &Bitfield,
    under_way: impl Iterator<Item = Piece>,
) -> Vec<MapCell> {
    let (pieces, count) = (u64::from(have.len()), u64::from(have.len().min(CELLS_MAX)));
    // Both are below 2^32, and so is every piece number.
    let start = |cell: u64| (cell * pieces / count.max(1)) as u32;
    let cell = |n: u64| {
        let (start, end) = (start(n), start(n + 1));
        MapCell {
            have: have.count_in(start..end),
            missing: missing.count_in(start..end),
            is_under_way: false,
        }
    };
    let mut cells: Vec<MapCell> = (0..count).map(cell).collect();
    for piece in under_way {
        // The last cell that starts at or before the piece.
        let n = ((u64::from(piece.number()) + 1) * count - 1) / pieces.max(1);
        if let Some(cell) = cells.get_mut(n as usize) {
            cell.is_under_way = true;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Geometry;
    use std::string::String;

    /// Makes a torrent from text, one character for each piece: `#` is there, `-` missing, ` `
    /// under way, `x` skipped.
    fn draw(pieces: &str) -> String {
        let geometry = Geometry::new(pieces.len() as u64, 1).unwrap();
        let set = |wanted: &[char]| {
            let mut set = Bitfield::empty(geometry.piece_count());
            geometry
                .pieces()
                .zip(pieces.chars())
                .filter(|(_, c)| wanted.contains(c))
                .for_each(|(piece, _)| assert!(set.insert(piece)));
            set
        };
        let open: Vec<Piece> = set(&['~']).iter(&geometry).collect();
        let cells = cells(&set(&['#']), &set(&['-', '~']), open.into_iter());
        let letter = |cell: MapCell| match cell {
            MapCell { have: 0, missing: 0, .. } => 'x',
            MapCell { have: 0, is_under_way: true, .. } => '~',
            MapCell { have: 0, .. } => '-',
            MapCell { missing: 0, .. } => '#',
            _ => '+',
        };
        cells.into_iter().map(letter).collect()
    }

    #[test]
    fn a_small_torrent_is_drawn_piece_by_piece() {
        for pieces in ["", "#", "#-~x#", "~~~~~~~"] {
            assert_eq!(draw(pieces), pieces);
        }
    }

    #[test]
    fn a_large_one_is_squeezed() {
        // 128 cells of two pieces each.
        for (two, cell) in [
            ("##", '#'),
            ("#-", '+'),
            ("~-", '~'),
            ("-~", '~'),
            ("--", '-'),
            ("xx", 'x'),
            ("x-", '-'),
            ("#x", '#'),
            ("#~", '+'),
        ] {
            let drawn = draw(&["--".repeat(50), two.into(), "--".repeat(77)].concat());
            assert_eq!((drawn.len(), drawn.chars().nth(50)), (128, Some(cell)), "{two}");
            assert_eq!(drawn.matches('-').count(), 127 + usize::from(cell == '-'));
        }
    }

    #[test]
    fn every_piece_under_way_is_in_its_cell() {
        for pieces in [1, 7, 128, 129, 1000, 100_000] {
            let geometry = Geometry::new(pieces, 1).unwrap();
            let (none, all) =
                (Bitfield::empty(geometry.piece_count()), Bitfield::full(geometry.piece_count()));
            for piece in geometry.pieces().step_by(97) {
                let mut have = all.clone();
                have.remove(piece);
                let mut missing = none.clone();
                missing.insert(piece);
                let by_count = cells(&have, &missing, core::iter::empty())
                    .iter()
                    .position(|cell| cell.missing > 0);
                let by_number = cells(&none, &all, core::iter::once(piece))
                    .iter()
                    .position(|cell| cell.is_under_way);
                assert_eq!(by_count, by_number, "{piece:?} of {pieces}");
            }
        }
    }

    #[test]
    fn joined_cells_count_what_is_behind_both() {
        let cell = |have, missing, is_under_way| MapCell { have, missing, is_under_way };
        assert_eq!(cell(1, 2, false).with(cell(3, 4, true)), cell(4, 6, true));
    }
}
