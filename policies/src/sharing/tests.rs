use super::*;
use crate::document::check;
use crate::testing::{LINES, MODEL, folder, problems};

fn sharing(file: &str, text: &str) -> Sharing {
    check(&folder(file, text))
        .unwrap_or_else(|problems| panic!("{problems}"))
        .sharing
}

#[test]
fn model_is_written_out_again_without_comments() {
    let commented = MODEL
        .replace("[matchers]", "# when\n; when\n[matchers]")
        .replace(" && r.act", " \\\n  && r.act");
    let read = sharing("sharing/model.conf", &commented);
    insta::assert_snapshot!(read.model, @r#"
[request_definition]
r = sub, dom, audience, label, act

[policy_definition]
p = sub, dom, audience, label, act, eft

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.audience == p.audience && r.label == p.label && r.act == p.act
"#);
    assert_eq!(read.request_fields().len(), 5);
}

#[test]
fn lines_keep_their_place_in_the_file() {
    let read = sharing(
        "sharing/policy.csv",
        "# roles\n\ng, staff, anyone, acme\np,anyone , acme, guest, confidential, share, deny\n",
    );
    let places: Vec<(u32, &str)> = read
        .lines
        .iter()
        .map(|line| (line.line, line.ptype.as_str()))
        .collect();
    assert_eq!(places, [(3, "g"), (4, "p")]);
    assert_eq!(
        read.lines[1].fields,
        ["anyone", "acme", "guest", "confidential", "share", "deny"]
    );
}

/// Z2: what casbin-rs takes in silence.
#[test]
fn lines_that_casbin_would_misread_are_refused() {
    let lines = "p, staff, acme, internal, none, share, Deny
P, staff, acme, internal, none, share, deny
p, staff, acme, internal, none, deny
p, staff, acme, internal, , share, deny
p, staff, acme, internal, \"none\", share, deny
p, staff, acme, internal, secret, share, deny
p, staff, other, external, none, post, deny
g, staff, anyone
p, staff, acme, internal, none, share, allow
p, staff, acme, internal, none, share, allow
p, staff # all, acme, internal, none, share, deny
";
    insta::assert_snapshot!(problems("sharing/policy.csv", lines), @r#"
sharing/policy.csv:1:1: `eft` can never be `Deny`
  help: one of allow, deny

sharing/policy.csv:2:1: there is no kind of line `P`
  help: a line starts with `p` or `g`

sharing/policy.csv:3:1: the line has 5 fields after `p`, model.conf defines 6
  help: give exactly: sub, dom, audience, label, act, eft

sharing/policy.csv:4:1: a field is empty
  help: give every one of: sub, dom, audience, label, act, eft

sharing/policy.csv:5:1: quotes, and comments after fields, are not read
  help: write the fields plainly, separated by commas, and comments on their own lines

sharing/policy.csv:6:1: `label` can never be `secret`
  help: one of none, internal, confidential

sharing/policy.csv:7:1: `act` can never be `post`
  help: one of share

sharing/policy.csv:7:1: `audience` can never be `external`
  help: one of internal, guest

sharing/policy.csv:7:1: `dom` can never be `other`
  help: one of acme

sharing/policy.csv:8:1: the line has 2 fields after `g`, model.conf defines 3
  help: give exactly: person, group or role, its role, tenant

sharing/policy.csv:10:1: this line is the same as line 9
  help: remove one of the two

sharing/policy.csv:11:1: quotes, and comments after fields, are not read
  help: write the fields plainly, separated by commas, and comments on their own lines
"#);
}

/// Z1
#[test]
fn circles_and_deep_roles_are_refused() {
    let circle = "p, a, acme, internal, none, share, allow\ng, a, b, acme\ng, b, c, acme\ng, c, a, acme\ng, c, a, other\ng, d, d, acme\n";
    insta::assert_snapshot!(problems("sharing/policy.csv", circle), @r#"
sharing/policy.csv:4:1: `c` would be its own role
  help: remove a line of the circle

sharing/policy.csv:6:1: `d` would be its own role
  help: remove a line of the circle
"#);
    let chain = |length: usize| {
        LINES.to_owned()
            + &(0..length)
                .map(|step| format!("g, r{step}, r{}, acme\n", step + 1))
                .collect::<String>()
    };
    assert_eq!(sharing("sharing/policy.csv", &chain(8)).lines.len(), 9);
    assert!(problems("sharing/policy.csv", &chain(9)).contains("roles are more than 9 levels deep"));
}

/// Z2, Z3, K23
#[test]
fn models_outside_of_the_subset_are_refused() {
    let check = |from: &str, to: &str| problems("sharing/model.conf", &MODEL.replace(from, to));
    let told = [
        check("r = sub, dom", "r = person, dom"),
        check("p = sub, dom, audience", "p = priority, sub, dom, audience"),
        check("g = _, _, _", "g = _, _, _, _"),
        check(
            "some(where (p.eft == allow)) && ",
            "some(where (p.eft == allow)) || ",
        ),
        check("[matchers]\nm", "[matchers]\nm2"),
        check("[policy_effect]", "[policy_effects]"),
        check("m = g(", "m = eval(p.rule) && g("),
        check("r.sub, p.sub, r.dom)", "r.sub, p.sub)"),
        check("r.act == p.act", "r.act == p.verb"),
        check("r.act == p.act", "r.act > p.act"),
        check("r.act == p.act", "r.act"),
        check("r.act == p.act", "(r.act == p.act"),
        check("r.act == p.act", "r.act == 99999999999"),
        check("r.act == p.act", "r.act == \"a\\n\""),
        check("r.act == p.act", "loop { }"),
        check("r.act == p.act", "!r.act == p.act"),
        check("r.act == p.act", "r.act == \"a#b\""),
        check("r.act == p.act", "r.act != \"p.example\""),
        check("r.act == p.act", "keyMatch(p.act, r.act)"),
        check("r.act == p.act", "r.act = p.act"),
        check("label, act, eft", "label, act"),
        problems(
            "sharing/model.conf",
            &format!("{}m = r.act == \"share\"\n", MODEL.split("m = ").next().unwrap()),
        ),
        problems("sharing/policy.csv", "# nothing\n"),
        check("r.act == p.act", &format!("{}r.act == p.act", "!".repeat(40))),
    ];
    insta::assert_snapshot!(told.join("\n\n"), @r#"
sharing/model.conf:3:1: a request has no field `person`
  help: the gateway knows: sub, dom, label, audience, act, app, tier, minute, binding

sharing/model.conf:11:1: `r.sub` is not defined
  help: add `sub` to [request_definition], or correct the name

sharing/model.conf:5:1: a `priority` field is not read
  help: casbin-rs does not honour it: order the lines instead, with the effect `priority(p.eft) || deny`

sharing/policy.csv:1:1: the line has 6 fields after `p`, model.conf defines 7
  help: give exactly: priority, sub, dom, audience, label, act, eft

sharing/policy.csv:1:1: there is no `p` line
  help: add what may be shared; without any line casbin decides by the matcher alone

sharing/model.conf:7:1: `g` is neither `_, _` nor `_, _, _`
  help: write `g = _, _` or, with the tenant, `g = _, _, _`

sharing/model.conf:9:1: casbin has no such effect
  help: one of `some(where (p.eft == allow))`, `!some(where (p.eft == deny))`, `some(where (p.eft == allow)) && !some(where (p.eft == deny))`, `priority(p.eft) || deny`

sharing/model.conf:1:1: the model has no `m` in [matchers]
  help: add [matchers] with `m = ...`

sharing/model.conf:11:1: `m2` is not read in [matchers]
  help: only `m` is: put everything into one definition

sharing/model.conf:1:1: the model has no `e` in [policy_effect]
  help: add [policy_effect] with `e = ...`

sharing/model.conf:8:1: there is no section `policy_effects`
  help: one of request_definition, policy_definition, role_definition, policy_effect, matchers

sharing/model.conf:9:1: this line stands in no known section
  help: put it under its section, such as [matchers]

sharing/model.conf:11:1: function `eval` is not allowed
  help: use `g`, `keyMatch` and comparisons; free rhai and `eval` can run without end

sharing/model.conf:11:1: `g` is called with 2 values
  help: call it with as many as [role_definition] has

sharing/model.conf:11:1: `p.verb` is not defined
  help: add `verb` to [policy_definition], or correct the name

sharing/model.conf:11:1: `>` compares texts
  help: order only `r.minute` and numbers

sharing/model.conf:11:1: a value stands alone
  help: compare it with another: `r.label == p.label`

sharing/model.conf:11:1: the matcher ends too early
  help: compare values (`r.label == p.label`) and join comparisons with && and ||

sharing/model.conf:11:1: `99999999999` is no number of 32 bits
  help: use a whole number

sharing/model.conf:11:1: a text holds what casbin would rewrite or cut
  help: use letters, digits, space and `_ - : / . @` between the quotes, and nothing like `r.x` or `p.x`

sharing/model.conf:11:1: `{` is not understood
  help: use ==, !=, <, <=, >, >=, &&, ||, !, g(...), keyMatch(...)

sharing/model.conf:11:1: `!` stands before a comparison
  help: put the comparison in brackets: `!(r.label == p.label)`

sharing/model.conf:11:1: a text holds what casbin would rewrite or cut
  help: use letters, digits, space and `_ - : / . @` between the quotes, and nothing like `r.x` or `p.x`

sharing/model.conf:11:1: a text holds what casbin would rewrite or cut
  help: use letters, digits, space and `_ - : / . @` between the quotes, and nothing like `r.x` or `p.x`

sharing/model.conf:11:1: `keyMatch` takes a request field and a pattern
  help: write keyMatch(r.field, p.field)

sharing/model.conf:11:1: `=` is not understood
  help: use ==, !=, <, <=, >, >=, &&, ||, !, g(...), keyMatch(...)

sharing/model.conf:9:1: the effect asks for denials, but lines have no `eft`
  help: add `eft` to [policy_definition], and `allow` or `deny` to every line

sharing/policy.csv:1:1: the line has 6 fields after `p`, model.conf defines 5
  help: give exactly: sub, dom, audience, label, act

sharing/policy.csv:1:1: there is no `p` line
  help: add what may be shared; without any line casbin decides by the matcher alone

sharing/model.conf:11:1: the matcher reads no field of the policy, so every line would apply
  help: compare a field of the request with one of the policy: `r.label == p.label`

sharing/policy.csv:1:1: there is no `p` line
  help: add what may be shared; without any line casbin decides by the matcher alone

sharing/model.conf:11:1: `!` stands before a comparison
  help: put the comparison in brackets: `!(r.label == p.label)`
"#);
}

/// casbin's keyMatch cuts by bytes.
#[test]
fn letters_that_no_name_has_are_refused() {
    let told = problems(
        "sharing/policy.csv",
        "p, führung, acme, internal, none, share, allow\n",
    );
    assert!(told.contains("letters that no name has"), "{told}");
}

/// Texts in which nothing is rewritten are accepted.
#[test]
fn plain_texts_negations_and_patterns_are_accepted() {
    let more =
        "m = !(r.sub == \"corp.example\") && !g(r.sub, \"x y\", r.dom) && keyMatch(r.label, p.label) && g(";
    assert!(
        sharing("sharing/model.conf", &MODEL.replace("m = g(", more))
            .model
            .contains("corp.example")
    );
}

/// Z3
#[test]
fn minutes_are_compared_as_numbers() {
    let model = MODEL
        .replace("label, act\n[pol", "label, act, minute\n[pol")
        .replace(
            "m = g(",
            "m = r.minute >= 480 && (r.minute < 1080 || !(r.dom == \"acme\")) && g(",
        );
    assert_eq!(
        sharing("sharing/model.conf", &model).request_fields().last(),
        Some(&RequestField::Minute)
    );
    let text = model.replace("r.minute < 1080", "r.minute < \"1080\"");
    assert!(problems("sharing/model.conf", &text).contains("a number is compared with a text"));
}

#[test]
fn model_without_roles_takes_no_role_lines() {
    let model = MODEL
        .replace("[role_definition]\ng = _, _, _\n", "")
        .replace("g(r.sub, p.sub, r.dom)", "r.sub == p.sub");
    let mut parts = folder("sharing/model.conf", &model);
    parts.files.insert(
        "sharing/policy.csv".to_owned(),
        format!("{LINES}g, a, b, acme\n").into_bytes(),
    );
    let told = check(&parts).unwrap_err().to_string();
    assert!(told.contains("there is no kind of line `g`"), "{told}");
}

/// K17
#[test]
fn binding_is_asked_for_only_where_the_matcher_reads_it() {
    let request = MODEL.replace("label, act\n[pol", "label, act, binding\n[pol");
    assert!(!sharing("sharing/model.conf", MODEL).has_binding());
    assert!(!sharing("sharing/model.conf", &request).has_binding());
    let asked = request.replace("m = g(", "m = r.binding == \"agent-sealed\" && g(");
    assert!(sharing("sharing/model.conf", &asked).has_binding());
}

/// A condition on a value that no request has would never hold, and so let through or keep out everything.
#[test]
fn texts_that_no_request_can_have_are_refused() {
    let request = MODEL.replace("label, act\n[pol", "label, act, binding, tier\n[pol");
    let told = |condition: &str| {
        let model = request.replace("m = g(", &format!("m = {condition} && g("));
        problems("sharing/model.conf", &model)
    };
    assert!(
        told("r.binding != \"app_asserted\"").contains("`r.binding` can never be `app_asserted`"),
        "{}",
        told("r.binding != \"app_asserted\"")
    );
    assert!(told("\"hard-ware\" == r.tier").contains("`r.tier` can never be `hard-ware`"));
}

/// The same in a line, where a field of the policy is compared.
#[test]
fn lines_name_a_binding_that_exists() {
    let model = MODEL
        .replace("label, act\n[pol", "label, act, binding\n[pol")
        .replace("act, eft", "act, binding, eft")
        .replace("m = g(", "m = r.binding == p.binding && g(");
    let mut parts = folder("sharing/model.conf", &model);
    let line = "p, staff, acme, internal, none, share, app-assertd, allow\n";
    parts
        .files
        .insert("sharing/policy.csv".to_owned(), line.as_bytes().to_vec());
    let told = check(&parts).unwrap_err().to_string();
    assert!(told.contains("`binding` can never be `app-assertd`"), "{told}");
}
