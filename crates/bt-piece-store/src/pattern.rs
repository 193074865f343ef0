//! Patterns that choose files: exact names, directories and globs.
//!
//! Decides: which paths a pattern means.
//! Invariant: an exact name means itself, with any special characters in it: real names are full of
//! brackets.

use globset::{Glob, GlobMatcher};

/// A pattern as the user writes it.
#[derive(Clone, Debug)]
pub struct PathPattern {
    /// The text without a slash at its end.
    literal: String,
    /// `None`: the text is no glob, and can only be a name.
    glob: Option<GlobMatcher>,
}

impl PathPattern {
    /// Reads a pattern; every text is one.
    pub fn new(text: &str) -> PathPattern {
        let glob = Glob::new(text).ok().map(|glob| glob.compile_matcher());
        PathPattern { literal: text.trim_end_matches('/').to_owned(), glob }
    }

    /// Returns whether the path, with `/` between its components, is the pattern's text or lies in
    /// the directory of that name.
    pub fn names(&self, path: &str) -> bool {
        path.strip_prefix(&*self.literal)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns whether the pattern is a glob that matches the whole path.
    pub fn is_glob_match(&self, path: &str) -> bool {
        self.glob.as_ref().is_some_and(|glob| glob.is_match(path))
    }

    /// Returns whether the text can be read as a glob.
    pub fn is_glob(&self) -> bool {
        self.glob.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_means() {
        // (pattern, path, by name, as a glob)
        let table = [
            ("a.txt", "a.txt", true, true),
            ("[G] S - 01 [1080p].mkv", "[G] S - 01 [1080p].mkv", true, false),
            ("Extras", "Extras/n", true, false),
            ("Extras/", "Extras/n", true, false),
            ("Extras", "Extras2", false, false),
            ("d/*", "d/e/f", false, true),
            ("*.txt", "d/a.txt", false, true),
            ("[", "[", true, false),
            ("[", "a", false, false),
        ];
        for (pattern, path, named, globbed) in table {
            let pattern = PathPattern::new(pattern);
            assert_eq!(
                (pattern.names(path), pattern.is_glob_match(path)),
                (named, globbed),
                "{pattern:?} and {path}"
            );
        }
        assert!(PathPattern::new("*").is_glob() && !PathPattern::new("[").is_glob());
    }
}
