//! Names in the environment: one that is misspelt must not be taken for one that is not there.

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// Names that dfsctl knows.
const OWN: [&str; 5] = ["DFS_ENDPOINT", "DFS_CONTEXT", "DFS_IDENTITY", "DFS_NODE_BIN", "DFS_CHAOS_TOKEN"];
/// Sections of the configuration of dfs-node, whose names are `DFS_<SECTION>__<KEY>`.
const SECTIONS: [&str; 10] =
    ["NODE", "COORDINATOR", "CLUSTER", "STORAGE", "MEMORY", "NETWORK", "ADMIN", "SECURITY", "LOG", "CHAOS"];
/// So many changed letters are a slip of the finger; more are another name, which is somebody else's.
const SLIPS_MAX: usize = 2;

/// Refuses the first name that is meant for dfs and is misspelt.
///
/// # Errors
/// With the name that was probably meant.
pub(crate) fn check(names: impl Iterator<Item = String>) -> Outcome {
    let mut wrong: Vec<_> = names.filter_map(|name| suggestion(&name).map(|meant| (name, meant))).collect();
    wrong.sort();
    let Some((name, meant)) = wrong.into_iter().next() else { return Ok(()) };
    let message = format!("the environment has '{name}', which means nothing; did you mean {meant}?");
    Err(Failure::new(Exit::Config, "UnknownVariable", message)
        .hint(format!("rename it, or unset it: unset {name}")))
}

/// The name that was meant, if `name` is a misspelt one.
fn suggestion(name: &str) -> Option<String> {
    let rest = name.strip_prefix("DFS_")?;
    // Those with two underscores are dfs-node's, which knows its keys and checks them.
    if OWN.contains(&name) || rest.contains("__") {
        return None;
    }
    let near = OWN.iter().map(|own| (strsim::damerau_levenshtein(name, own), own)).min()?;
    if near.0 <= SLIPS_MAX {
        return Some((*near.1).to_owned());
    }
    let section =
        SECTIONS.iter().find_map(|section| Some((section, rest.strip_prefix(section)?.strip_prefix('_')?)));
    section.map(|(section, key)| format!("DFS_{section}__{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_refused_with_the_right_one_and_others_are_left_alone() {
        let said = |name: &str| suggestion(name);
        assert_eq!(said("DFS_ENDPIONT").as_deref(), Some("DFS_ENDPOINT"));
        assert_eq!(said("DFS_ENDPOINTS").as_deref(), Some("DFS_ENDPOINT"));
        assert_eq!(said("DFS_CONTXT").as_deref(), Some("DFS_CONTEXT"));
        assert_eq!(said("DFS_NODE_BIM").as_deref(), Some("DFS_NODE_BIN"));
        assert_eq!(said("DFS_CLUSTER_CHUNK_SIZE").as_deref(), Some("DFS_CLUSTER__CHUNK_SIZE"));
        for other in
            ["DFS_ENDPOINT", "DFS_NODE__NAME", "DFS_SUBNET", "DFS_TEST_SEED", "DFS_PORT", "HOME", "DFS_"]
        {
            assert_eq!(said(other), None, "{other}");
        }
        let failure = check(["PATH", "DFS_ENDPIONT"].map(str::to_owned).into_iter()).unwrap_err();
        let expected = "the environment has 'DFS_ENDPIONT', which means nothing; did you mean DFS_ENDPOINT?";
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Config, expected));
    }
}
