//! Memory for one batch item of a key-value cache: pages that items share until one of them writes there, so that a
//! sequence which goes on in several ways is not copied.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::cache::{BLOCK, GROUP};
use crate::scratch::Line;

/// Entries of a group of blocks.
pub(super) const ENTRIES: usize = BLOCK * GROUP;

/// What all pages of a cache have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageLayout {
    pub heads: usize,
    /// Lines of a group of blocks.
    pub group_lines: usize,
}

/// Some groups of each head, `[heads, room, group]`.
#[derive(Clone)]
struct Page {
    lines: Arc<Vec<Line>>,
    /// Groups of a head that there is memory for.
    room: usize,
    /// How many of them this item has, the first ones.
    groups: usize,
}

impl Page {
    fn new(layout: PageLayout, groups: usize) -> Self {
        let lines = vec![Line::ZERO; layout.heads * groups * layout.group_lines];
        Self { lines: Arc::new(lines), room: groups, groups }
    }

    /// A page of one group alone, with what that group holds here.
    fn copy_of(&self, layout: PageLayout, group: usize) -> Self {
        let mut lines = Vec::with_capacity(layout.heads * layout.group_lines);
        for head in 0..layout.heads {
            lines.extend_from_slice(&self.lines[self.line(layout, head, group)..][..layout.group_lines]);
        }
        Self { lines: Arc::new(lines), room: 1, groups: 1 }
    }

    /// Whether no other item reads it.
    fn is_own(&mut self) -> bool {
        Arc::get_mut(&mut self.lines).is_some()
    }

    /// The lines from the first of a head's group on.
    fn line(&self, layout: PageLayout, head: usize, group: usize) -> usize {
        (head * self.room + group) * layout.group_lines
    }
}

/// The entries of one batch item.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
}

impl Pages {
    /// Makes room for `entries`, of which the first `kept` stay as they are. The groups that the others lie in are
    /// this item's alone after this.
    pub fn reserve(&mut self, layout: PageLayout, kept: usize, entries: usize) {
        let (whole, is_part_kept) = (kept / ENTRIES, !kept.is_multiple_of(ENTRIES));
        let mut start = 0;
        for mut page in std::mem::take(&mut self.pages) {
            let groups = start..start + page.groups;
            start = groups.end;
            if groups.end <= whole || page.is_own() {
                self.pages.push(page);
                continue;
            }
            // Of a shared page what is not written to stays shared.
            let part = (is_part_kept && groups.contains(&whole)).then(|| page.copy_of(layout, whole - groups.start));
            page.groups = whole.saturating_sub(groups.start);
            self.pages.extend((page.groups > 0).then_some(page).into_iter().chain(part));
        }
        let groups: usize = self.pages.iter().map(|page| page.groups).sum();
        let wanted = entries.div_ceil(ENTRIES);
        if groups < wanted {
            self.pages.push(Page::new(layout, wanted - groups));
        }
    }

    /// A head's group of blocks.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub fn group(&self, layout: PageLayout, head: usize, mut group: usize) -> *const u8 {
        for page in &self.pages {
            if group < page.groups {
                return page.lines.as_ptr().wrapping_add(page.line(layout, head, group)).cast();
            }
            group -= page.groups;
        }
        panic!("a cache has no such group of blocks");
    }

    /// The groups from `from` to `to` of the first head, to be written, each with the bytes from head to head.
    ///
    /// # Panics
    /// If one is not there or another item's too; [`Self::reserve`] sees to that.
    pub fn groups_mut(&mut self, layout: PageLayout, from: usize, to: usize) -> Vec<(*mut u8, usize)> {
        let (mut start, mut found) = (0, Vec::with_capacity(to - from));
        for page in &mut self.pages {
            let groups = from.max(start)..to.min(start + page.groups);
            let head_bytes = page.room * layout.group_lines * size_of::<Line>();
            for group in groups {
                let at = page.line(layout, 0, group - start);
                let lines = Arc::get_mut(&mut page.lines).unwrap_or_else(|| panic!("a shared page was not reserved"));
                found.push((lines.as_mut_ptr().wrapping_add(at).cast(), head_bytes));
            }
            start += page.groups;
        }
        assert_eq!(found.len(), to - from, "groups of a cache that were not reserved");
        found
    }

    /// Whether both are the same memory.
    pub fn are_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Page, &Page)| Arc::ptr_eq(&a.lines, &b.lines) && a.groups == b.groups;
        self.pages.len() == other.pages.len() && self.pages.iter().zip(&other.pages).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: PageLayout = PageLayout { heads: 2, group_lines: 4 };

    /// The address of each group of the second head.
    fn groups(pages: &Pages, count: usize) -> Vec<*const u8> {
        (0..count).map(|group| pages.group(LAYOUT, 1, group)).collect()
    }

    #[test]
    fn only_the_last_group_is_copied() {
        let mut first = Pages::default();
        first.reserve(LAYOUT, 0, 3 * ENTRIES - 5);
        // What the third group holds: its head.
        for (head, byte) in [(0, 3u8), (1, 4)] {
            let (group, head_bytes) = first.groups_mut(LAYOUT, 2, 3)[0];
            // SAFETY: a group of four lines.
            unsafe { group.add(head * head_bytes).write_bytes(byte, 4 * 64) };
        }
        let mut second = first.clone();
        assert!(first.are_same(&second));
        second.reserve(LAYOUT, 3 * ENTRIES - 5, 3 * ENTRIES - 4);
        assert!(!first.are_same(&second));
        let (a, b) = (groups(&first, 3), groups(&second, 3));
        assert!(a[..2] == b[..2] && a[2] != b[2]);
        // SAFETY: a group of four lines.
        let held = |group: *const u8| unsafe { std::slice::from_raw_parts(group, 4 * 64) }.to_vec();
        assert_eq!((held(second.group(LAYOUT, 0, 2)), held(b[2])), (vec![3; 256], vec![4; 256]));
        // The first has its group alone, too, and keeps it.
        let mut alone = first.clone();
        drop(second);
        drop(first);
        alone.reserve(LAYOUT, 3 * ENTRIES - 5, 4 * ENTRIES);
        assert_eq!(groups(&alone, 4)[..3], a);
    }

    #[test]
    fn whole_groups_are_never_copied_and_nothing_of_what_is_forgotten() {
        let mut first = Pages::default();
        first.reserve(LAYOUT, 0, 2 * ENTRIES);
        let mut second = first.clone();
        second.reserve(LAYOUT, 2 * ENTRIES, 2 * ENTRIES + 1);
        assert_eq!(groups(&first, 2), groups(&second, 3)[..2]);
        second.reserve(LAYOUT, 0, ENTRIES);
        assert_ne!(groups(&first, 1), groups(&second, 1));
        // Memory of its own is used again.
        let before = groups(&second, 1);
        second.reserve(LAYOUT, 0, ENTRIES);
        assert_eq!(groups(&second, 1), before);
    }
}
