//! The conditions of a matcher: a small total grammar that is also valid rhai (Z3).
//!
//! ```text
//! or      = and { "||" and }
//! and     = not { "&&" not }
//! not     = "!" negated | negated | compare                           `!a == b` would be `(!a) == b` in rhai
//! negated = "(" or ")" | call
//! call    = "g" "(" value { "," value } ")" | "keyMatch" "(" r.name "," (p.name | "text") ")"
//! compare = value ("==" | "!=" | "<" | "<=" | ">" | ">=") value      order only for `r.minute` and numbers
//! value   = r.name | p.name | "text" | number
//! ```

use crate::limits;

/// A matcher that was understood.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    values: Vec<Value>,
    role_calls: Vec<usize>,
    equalities: Vec<(Value, Value)>,
    texts: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Request(String),
    Policy(String),
    Text(String),
    Number,
}

/// Why a matcher is refused.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Matcher {
    /// Every `r.name` and `p.name`.
    pub(super) fn names(&self) -> impl Iterator<Item = (char, &str)> {
        self.values.iter().filter_map(|value| match value {
            Value::Request(name) => Some(('r', name.as_str())),
            Value::Policy(name) => Some(('p', name.as_str())),
            Value::Text(_) | Value::Number => None,
        })
    }

    /// How many values each call of `g` has.
    pub(super) fn role_calls(&self) -> impl Iterator<Item = usize> {
        self.role_calls.iter().copied()
    }

    /// Each request field that is compared with a text, and the text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The request field that a policy field is compared with for equality, and nothing else.
    pub(super) fn equal_request_field(&self, policy_field: &str) -> Option<&str> {
        let ours = |value: &Value| matches!(value, Value::Policy(name) if name == policy_field);
        if self.values.iter().filter(|value| ours(value)).count() != 1 {
            return None;
        }
        self.equalities.iter().find_map(|pair| match pair {
            (Value::Request(name), policy) | (policy, Value::Request(name)) if ours(policy) => {
                Some(name.as_str())
            }
            _ => None,
        })
    }
}

/// Understands a matcher, or says why not.
pub(super) fn parse(text: &str) -> Result<Matcher, Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        rest: &tokens,
        matcher: Matcher::default(),
    };
    parser.or(0)?;
    match parser.rest.first() {
        None => Ok(parser.matcher),
        Some(token) => Err(unexpected(Some(token))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number,
    Symbol(&'static str),
}

const SYMBOLS: &[&str] = &["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", ","];

fn fault(message: impl Into<String>, help: &'static str) -> Fault {
    Fault {
        message: message.into(),
        help,
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        } else if first == '"' || first == '\'' {
            quoted(rest, &mut tokens)?
        } else {
            word(rest, first, &mut tokens)?
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn quoted(rest: &str, tokens: &mut Vec<Token>) -> Result<usize, Fault> {
    let inner = rest
        .strip_prefix('"')
        .ok_or_else(|| fault("a text stands in single quotes", "use double quotes"))?;
    let end = inner
        .find('"')
        .ok_or_else(|| fault("a text has no closing quote", "close it"))?;
    let text = inner.get(..end).unwrap_or_default();
    if !is_plain(text) {
        let help = "use letters, digits, space and `_ - : / . @` between the quotes, and nothing like `r.x` or `p.x`";
        return Err(fault("a text holds what casbin would rewrite or cut", help));
    }
    tokens.push(Token::Text(text.to_owned()));
    Ok(end + 2)
}

/// casbin cuts at `#`, rewrites `p.x` to `p_x` even between quotes, and rhai knows escapes.
fn is_plain(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || " _-:/.@".contains(letter);
    let is_side = |word: &str| {
        let name = word
            .rsplit(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .next()
            .unwrap_or_default();
        let digits = name.strip_prefix('r').or_else(|| name.strip_prefix('p'));
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut before_dots: Vec<&str> = text.split('.').collect();
    before_dots.pop();
    text.chars().all(allowed) && !before_dots.into_iter().any(is_side)
}

fn word(rest: &str, first: char, tokens: &mut Vec<Token>) -> Result<usize, Fault> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
    let word = rest.get(..end).filter(|word| !word.is_empty()).ok_or_else(|| {
        fault(
            format!("`{first}` is not understood"),
            "use ==, !=, <, <=, >, >=, &&, ||, !, g(...), keyMatch(...)",
        )
    })?;
    if first.is_ascii_digit() {
        word.parse::<i32>()
            .map_err(|_| fault(format!("`{word}` is no number of 32 bits"), "use a whole number"))?;
        tokens.push(Token::Number);
    } else {
        tokens.push(Token::Word(word.to_owned()));
    }
    Ok(end)
}

fn unexpected(token: Option<&Token>) -> Fault {
    let help = "compare values (`r.label == p.label`) and join comparisons with && and ||";
    match token {
        None => fault("the matcher ends too early", help),
        Some(Token::Word(word)) => fault(format!("`{word}` is not expected here"), help),
        Some(Token::Symbol(symbol)) => fault(format!("`{symbol}` is not expected here"), help),
        Some(Token::Text(_)) => fault("a text is not expected here", help),
        Some(Token::Number) => fault("a number is not expected here", help),
    }
}

struct Parser<'a> {
    rest: &'a [Token],
    matcher: Matcher,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first.clone())
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.rest.first(), Some(Token::Symbol(first)) if *first == symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Fault> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(unexpected(self.rest.first()))
        }
    }

    fn or(&mut self, depth: usize) -> Result<(), Fault> {
        self.and(depth)?;
        while self.take("||") {
            self.and(depth)?;
        }
        Ok(())
    }

    fn and(&mut self, depth: usize) -> Result<(), Fault> {
        self.not(depth)?;
        while self.take("&&") {
            self.not(depth)?;
        }
        Ok(())
    }

    fn not(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > limits::MATCHER_DEPTH_MAX {
            return Err(fault("the matcher is nested too deep", "write it flat"));
        }
        if self.take("!") {
            let is_call = matches!(self.rest, [Token::Word(_), Token::Symbol("("), ..]);
            if !is_call && !matches!(self.rest.first(), Some(Token::Symbol("("))) {
                return Err(fault(
                    "`!` stands before a comparison",
                    "put the comparison in brackets: `!(r.label == p.label)`",
                ));
            }
            return self.not(depth + 1);
        }
        if self.take("(") {
            self.or(depth + 1)?;
            return self.expect(")");
        }
        match self.next() {
            Some(Token::Word(name)) if self.take("(") => self.call(&name),
            Some(token) => {
                let left = self.value(token)?;
                self.compare(left)
            }
            None => Err(unexpected(None)),
        }
    }

    fn call(&mut self, name: &str) -> Result<(), Fault> {
        if name != "g" && name != "keyMatch" {
            let help = "use `g`, `keyMatch` and comparisons; free rhai and `eval` can run without end";
            return Err(fault(format!("function `{name}` is not allowed"), help));
        }
        let mut values = Vec::new();
        loop {
            let token = self.next().ok_or_else(|| unexpected(None))?;
            values.push(self.value(token)?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        if values.iter().any(is_number) {
            return Err(fault(
                format!("`{name}` takes texts"),
                "give fields or texts in quotes",
            ));
        }
        if name == "g" {
            self.matcher.role_calls.push(values.len());
        } else if !matches!(
            values.as_slice(),
            [Value::Request(_), Value::Policy(_) | Value::Text(_)]
        ) {
            return Err(fault(
                "`keyMatch` takes a request field and a pattern",
                "write keyMatch(r.field, p.field)",
            ));
        }
        Ok(())
    }

    fn value(&mut self, token: Token) -> Result<Value, Fault> {
        let value = match token {
            Token::Text(text) => Value::Text(text),
            Token::Number => Value::Number,
            Token::Word(word) => match word.split_once('.') {
                Some(("r", name)) if !name.contains('.') => Value::Request(name.to_owned()),
                Some(("p", name)) if !name.contains('.') => Value::Policy(name.to_owned()),
                _ => {
                    let help = "name a field of the request, `r.label`, or of the policy, `p.label`";
                    return Err(fault(format!("`{word}` is no field"), help));
                }
            },
            Token::Symbol(_) => return Err(unexpected(Some(&token))),
        };
        self.matcher.values.push(value.clone());
        Ok(value)
    }

    fn compare(&mut self, left: Value) -> Result<(), Fault> {
        let Some(Token::Symbol(operator @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) = self.next() else {
            return Err(fault(
                "a value stands alone",
                "compare it with another: `r.label == p.label`",
            ));
        };
        let token = self.next().ok_or_else(|| unexpected(None))?;
        let right = self.value(token)?;
        if is_number(&left) != is_number(&right) {
            let help = "`r.minute` is a number, every other field is a text; policy fields are texts";
            return Err(fault("a number is compared with a text", help));
        }
        if !matches!(operator, "==" | "!=") && !is_number(&left) {
            return Err(fault(
                format!("`{operator}` compares texts"),
                "order only `r.minute` and numbers",
            ));
        }
        if let (Value::Request(name), Value::Text(text)) | (Value::Text(text), Value::Request(name)) =
            (&left, &right)
        {
            self.matcher.texts.push((name.clone(), text.clone()));
        }
        if operator == "==" {
            self.matcher.equalities.push((left, right));
        }
        Ok(())
    }
}

fn is_number(value: &Value) -> bool {
    match value {
        Value::Number => true,
        Value::Request(name) => name == "minute",
        Value::Policy(_) | Value::Text(_) => false,
    }
}
