//! The packs that ship with Sealgate.

/// Id and text of every shipped pack. A plan takes those that its `policy.toml` names.
pub const SHIPPED: &[(&str, &str)] = &[
    ("bank", include_str!("../../packs/bank/bank.toml")),
    ("contact", include_str!("../../packs/contact/contact.toml")),
    (
        "national-ids",
        include_str!("../../packs/national-ids/national-ids.toml"),
    ),
    (
        "payment-cards",
        include_str!("../../packs/payment-cards/payment-cards.toml"),
    ),
    ("secrets", include_str!("../../packs/secrets/secrets.toml")),
];
