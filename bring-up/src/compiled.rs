//! The end of rung 0: whether there are compiled kernels for this machine's NPU, which the rungs above need.

use std::path::Path;

use undertone_kernels::npu::{Bundles, Target, Trial, TrialBundle, TrialKind};

use crate::Check;

/// The kernels in `folder` for `target`. That some are missing is a warning: rung 1 needs none.
pub(crate) fn check(folder: Option<&Path>, target: Option<Target>) -> Check {
    let name = "compiled kernels";
    let fetch = "`undertone npu fetch FROM` puts those of a release in place; the rungs from 2 on need them";
    let (Some(folder), Some(target)) = (folder, target) else {
        return Check::warned(name, "there is no folder of them", fetch);
    };
    let shown = folder.display();
    let count = match Bundles::open(folder) {
        Ok(bundles) => bundles.list().iter().filter(|bundle| bundle.design().target == target).count(),
        Err(_) if !folder.exists() => return Check::warned(name, format!("there is no folder {shown}"), fetch),
        Err(error) => return Check::warned(name, error.to_string(), fetch),
    };
    if count == 0 {
        return Check::warned(name, format!("{shown} has none for {target}"), fetch);
    }
    let trials = TrialKind::ALL.map(|kind| TrialBundle::find(folder, &Trial::new(target, kind)));
    if let Some(error) = trials.into_iter().find_map(Result::err) {
        let advice = format!("the ladder's own are made by `kernels/aie/build.sh --target {target} --ladder`");
        return Check::warned(name, error.to_string(), advice);
    }
    Check::told(name, format!("{count} bundles for {target}, and the ladder's own"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn without_any_it_says_how_to_get_them() {
        let home = tempfile::tempdir().unwrap();
        let nowhere = home.path().join("no-such");
        for (folder, words) in
            [(None, "no folder"), (Some(nowhere.as_path()), "no-such"), (Some(home.path()), "none for npu4")]
        {
            let check = check(folder, Some(Target::Npu4));
            let Outcome::Warned { found, advice } = &check.outcome else { panic!("{check:?}") };
            assert!(found.contains(words) && advice.contains("npu fetch FROM"), "{found}; {advice}");
        }
    }
}
