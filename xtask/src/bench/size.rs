//! The size of what is shipped.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::report::{Row, Section};
use crate::build::Packed;

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn measure(packed: &Packed) -> Result<Section> {
    let mib = |path: &Path| -> Result<f64> {
        let length = fs::metadata(path).with_context(|| format!("could not look at {}", path.display()))?.len();
        Ok(length as f64 / MIB)
    };
    let (addon, ride, plugin) = (mib(&packed.addon)?, mib(&packed.ride)?, mib(&packed.plugin)?);
    Ok(Section {
        title: "Sizes",
        how: "Release profile of the workspace (fat LTO, stripped), this platform.".into(),
        rows: vec![
            Row::plain("addon", format!("{addon:.2} MiB")).target("≤ 2 MiB", addon <= 2.0),
            Row::plain("`ride`", format!("{ride:.2} MiB")).target("≤ 10 MiB", ride <= 10.0),
            Row::plain("gateway plugin's tarball, addon included", format!("{plugin:.2} MiB")),
        ],
    })
}
