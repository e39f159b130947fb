//! What is wrong with a policy folder, in words that say what to do.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::limits;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File in the folder.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            help,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}\n  help: {help}")
    }
}

/// Everything that is wrong, in order of file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(crate) fn one(file: &str, message: &str, help: &str) -> Self {
        let (file, message, help) = (file.to_owned(), message.to_owned(), help.to_owned());
        Self(vec![Problem {
            file,
            line: 1,
            column: 1,
            message,
            help,
        }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while files are read.
#[derive(Debug, Default)]
pub(crate) struct Collector(RefCell<Vec<Problem>>);

impl Collector {
    pub(crate) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(crate) fn file(&self, file: &str, message: String, help: String) {
        self.add(Problem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message,
            help,
        });
    }

    pub(crate) fn into_result(self) -> Result<(), Problems> {
        let mut problems = self.0.into_inner();
        problems.sort();
        problems.dedup();
        problems.truncate(limits::PROBLEMS_MAX);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }
}

/// One text file being read: turns byte positions into lines and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) collector: &'a Collector,
}

impl Source<'_> {
    pub(crate) fn problem(&self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let (line, column) = self.place(at.start);
        let file = self.file.to_owned();
        self.collector.add(Problem {
            file,
            line,
            column,
            message: message.into(),
            help: help.into(),
        });
    }

    pub(crate) fn line(&self, at: &Range<usize>) -> u32 {
        self.place(at.start).0
    }

    fn place(&self, offset: usize) -> (u32, u32) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count();
        let from_one = |count: usize| u32::try_from(count).map_or(u32::MAX, |count| count.saturating_add(1));
        (from_one(line), from_one(column))
    }
}
