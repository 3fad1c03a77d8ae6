//! Where the labels of a crowded figure stand: each as near to its point as it can without covering another.

/// A rectangle; `y` grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Box2 {
    /// Around a point.
    pub fn centred(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { left: x - width / 2.0, right: x + width / 2.0, top: y - height / 2.0, bottom: y + height / 2.0 }
    }

    /// Its middle.
    pub fn centre(&self) -> (f64, f64) {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn is_within(&self, other: &Self) -> bool {
        self.left >= other.left && self.right <= other.right && self.top >= other.top && self.bottom <= other.bottom
    }
}

/// Directions that are tried at each distance.
const DIRECTIONS: usize = 24;
/// Distances that are tried, and the step between them.
const DISTANCES: usize = 60;
const STEP: f64 = 4.0;

/// The place of a label of `size` for `point` that is nearest to it, lies within `within` and meets nothing that is
/// `taken`; where there is none, beside the point.
pub fn place(point: (f64, f64), size: (f64, f64), within: &Box2, taken: &[Box2]) -> Box2 {
    let (x, y) = point;
    let around = (0..DISTANCES).flat_map(|ring| {
        let distance = 10.0 + STEP * ring as f64;
        (0..DIRECTIONS).map(move |direction| {
            // Begins on the right.
            let angle = std::f64::consts::TAU * direction as f64 / DIRECTIONS as f64;
            Box2::centred(x + distance * angle.cos(), y + distance * angle.sin(), size.0, size.1)
        })
    });
    let free = |label: &Box2| label.is_within(within) && taken.iter().all(|other| !label.meets(other));
    around.clone().find(free).or_else(|| around.clone().next()).unwrap_or(Box2::centred(x, y, size.0, size.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_points_in_one_place_do_not_meet() {
        let within = Box2 { left: 0.0, right: 400.0, top: 0.0, bottom: 400.0 };
        let mut taken = vec![Box2::centred(390.0, 200.0, 8.0, 8.0)];
        for _ in 0..40 {
            let label = place((390.0, 200.0), (14.0, 12.0), &within, &taken);
            assert!(label.is_within(&within), "{label:?}");
            assert!(taken.iter().all(|other| !label.meets(other)), "{label:?}");
            taken.push(label);
        }
    }

    #[test]
    fn where_nothing_is_free_a_label_stands_beside_its_point() {
        let within = Box2 { left: 0.0, right: 5.0, top: 0.0, bottom: 5.0 };
        let label = place((2.0, 2.0), (14.0, 12.0), &within, &[]);
        assert_eq!(label.centre(), (12.0, 2.0));
    }
}
