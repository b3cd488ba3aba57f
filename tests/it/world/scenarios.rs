//! The scenarios whose every crash point is tried.

use serde_json::json;

use super::items::{End, Item, Kind, hook, plain};
use super::scripts::{Meddling, Script, There};

fn fresh_install() -> Script {
    let items = vec![
        plain(Kind::Config, "settings").wave(-1),
        plain(Kind::Account, "runner").wave(-1),
        plain(Kind::Deployment, "db").takes(1500),
        plain(Kind::Gadget, "queue").takes(2500),
        plain(Kind::Deployment, "web").wave(1),
        plain(Kind::Widget, "route").wave(1),
        plain(Kind::Job, "seed").wave(2),
    ];
    Script { sources: vec![items], ..Script::default() }
}

fn small(hooks: Vec<Item>) -> Vec<Item> {
    let mut items = vec![plain(Kind::Config, "settings"), plain(Kind::Deployment, "web").wave(1)];
    items.extend(hooks);
    items
}

fn one(items: Vec<Item>) -> Script {
    Script { sources: vec![items], ..Script::default() }
}

fn hooks_of_all_phases() -> Vec<Item> {
    small(vec![
        hook("PreSync", "migrate"),
        hook("PreSync", "backup").wave(-1),
        hook("Sync", "warm").wave(1),
        hook("PostSync", "smoke"),
        hook("SyncFail", "alarm"),
    ])
}

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) script: Script,
    /// How its attempts end without faults, by first letters: Succeeded, Failed, Terminated.
    pub(crate) endings: &'static str,
    /// Whether a fault may change what is done, because something else happens meanwhile; the judges still have their say.
    pub(crate) races: bool,
}

/// All scenarios.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let all = settled()
        .into_iter()
        .map(|scenario| (scenario, false))
        .chain(racing().into_iter().map(|scenario| (scenario, true)));
    all.map(|((name, script, endings), races)| Scenario { name, script, endings, races }).collect()
}

fn racing() -> Vec<(&'static str, Script, &'static str)> {
    vec![(
        "a hook that fails at once beside another",
        one(small(vec![
            hook("PreSync", "migrate").takes(20).ends(End::Badly),
            hook("PreSync", "other").takes(1500),
            hook("SyncFail", "alarm").takes(700),
            hook("SyncFail", "siren").takes(20).ends(End::Badly),
        ])),
        "F",
    )]
}

fn settled() -> Vec<(&'static str, Script, &'static str)> {
    let upgrade = {
        let mut next = hooks_of_all_phases();
        next[1] = plain(Kind::Deployment, "web").wave(1).content(2);
        next[0] = plain(Kind::Config, "settings").content(-2);
        vec![hooks_of_all_phases(), next]
    };
    let prune = vec![
        vec![
            plain(Kind::Config, "a").wave(-1),
            plain(Kind::Deployment, "b"),
            plain(Kind::Config, "c").wave(1),
            plain(Kind::Config, "kept"),
        ],
        vec![plain(Kind::Config, "kept").content(2), plain(Kind::Deployment, "d").wave(1)],
    ];
    let custom = vec![
        vec![
            plain(Kind::Gadget, "queue").takes(7000),
            plain(Kind::Widget, "route").takes(1500),
            plain(Kind::Config, "last").wave(1),
        ],
        vec![
            plain(Kind::Gadget, "queue").takes(7000).content(2),
            plain(Kind::Widget, "route").takes(1500).content(2),
            plain(Kind::Config, "last").wave(1).content(2),
        ],
    ];
    let pruning = json!({"automated": {"prune": true}});
    let policies = small(vec![
        hook("PreSync", "before").policy("BeforeHookCreation"),
        hook("PreSync", "well").policy("HookSucceeded"),
        hook("PreSync,PostSync", "twice").policy("HookSucceeded"),
        hook("PostSync", "badly").wave(1).policy("HookFailed").ends(End::Badly),
        hook("SyncFail", "alarm").policy("HookSucceeded"),
    ]);
    let passive = |content| {
        small(vec![
            hook("PreSync", "values").of(Kind::Config).content(content),
            hook("PreSync", "anew").of(Kind::Config).policy("BeforeHookCreation").content(content),
            hook("PreSync", "gone").of(Kind::Config).policy("HookSucceeded").content(content),
            hook("PostSync", "uses").content(content),
        ])
    };
    let generated = |content| {
        let mut items = small(vec![
            hook("PreSync", "migrate-").generated(),
            hook("PostSync", "smoke-").generated().policy("HookSucceeded"),
        ]);
        items[0].content = content;
        items
    };
    vec![
        ("a fresh install of three waves", fresh_install(), "S"),
        ("hooks of all phases, twice", Script { sources: upgrade, ..Script::default() }, "SS"),
        (
            "a failing PreSync hook",
            one(small(vec![
                hook("PreSync", "migrate").ends(End::Badly),
                hook("PreSync", "other").takes(1500),
                hook("SyncFail", "alarm"),
                hook("SyncFail", "siren").ends(End::Badly),
            ])),
            "F",
        ),
        (
            "a failing wave that heals while SyncFail runs",
            one(small(vec![
                plain(Kind::Deployment, "ill").takes(3000).ends(End::Heals),
                hook("SyncFail", "alarm").takes(9000),
                hook("PostSync", "smoke"),
            ])),
            "F",
        ),
        (
            "a wave that fails again without a write",
            Script {
                sources: vec![small(vec![
                    plain(Kind::Deployment, "broken").takes(5000).ends(End::Badly),
                    hook("SyncFail", "alarm"),
                ])],
                ask_again: true,
                ..Script::default()
            },
            "FF",
        ),
        (
            "a termination while a hook runs",
            Script {
                sources: vec![small(vec![hook("PreSync", "migrate").takes(30_000), hook("SyncFail", "alarm")])],
                people: vec![(8000, Meddling::Terminate)],
                ..Script::default()
            },
            "T",
        ),
        (
            "a failing wave with SyncFail",
            one(small(vec![
                plain(Kind::Deployment, "broken").ends(End::Badly).takes(4000),
                hook("Sync", "slow").takes(5500),
                hook("SyncFail", "alarm"),
                hook("SyncFail", "report").wave(1),
            ])),
            "F",
        ),
        (
            "a failing wave that is tried again",
            Script {
                sources: vec![small(vec![
                    hook("PreSync", "migrate"),
                    hook("Sync", "flaky").ends(End::WellLater),
                    hook("SyncFail", "alarm"),
                ])],
                policy: json!({"retry": {"limit": 2}}),
                ..Script::default()
            },
            "FS",
        ),
        (
            "an edit and a delete that are undone, without hooks",
            Script {
                sources: vec![hooks_of_all_phases()],
                policy: json!({"automated": {"selfHeal": true}}),
                people: vec![
                    (30_000, Meddling::Edit(plain(Kind::Config, "settings").key())),
                    // The last stage: a repair that goes on after a restart is about all of them, and so is this one.
                    (60_000, Meddling::TakeAway(plain(Kind::Deployment, "web").key())),
                ],
                ..Script::default()
            },
            "SSS",
        ),
        ("prunes in mirrored waves", Script { sources: prune, policy: pruning, ..Script::default() }, "SS"),
        ("custom resources with a stale status", Script { sources: custom, ..Script::default() }, "SS"),
        ("every delete policy", one(policies), "F"),
        ("hooks with generated names", Script { sources: vec![generated(1), generated(2)], ..Script::default() }, "SS"),
        (
            "Jobs with a time to live of zero",
            one(small(vec![
                hook("PreSync", "migrate").ttl(0),
                plain(Kind::Job, "seed").ttl(0),
                plain(Kind::Deployment, "after").wave(2),
            ])),
            "S",
        ),
        (
            "a deletion in reverse waves with hooks",
            Script {
                sources: vec![small(vec![
                    hook("PreSync", "migrate"),
                    hook("PreDelete", "drain"),
                    hook("PostDelete", "farewell"),
                    hook("PostDelete", "sweep").policy("HookSucceeded"),
                ])],
                delete: true,
                ..Script::default()
            },
            "SS",
        ),
        ("passive hooks", Script { sources: vec![passive(1), passive(2)], ..Script::default() }, "SS"),
        (
            // One stage without hooks is not rehearsed: the refusal comes with the apply itself.
            "an object of another Application and nothing else",
            Script {
                sources: vec![vec![plain(Kind::Config, "theirs")]],
                there: vec![(plain(Kind::Config, "theirs").content(7), There::Neighbour)],
                ..Script::default()
            },
            "F",
        ),
        (
            "an object of another Application",
            Script {
                sources: vec![small(vec![
                    hook("PreSync", "migrate"),
                    plain(Kind::Config, "theirs").wave(2),
                    hook("SyncFail", "alarm"),
                ])],
                there: vec![(plain(Kind::Config, "theirs").content(7), There::Neighbour)],
                ..Script::default()
            },
            "F",
        ),
        (
            "an object that a person made",
            Script {
                sources: vec![small(vec![plain(Kind::Config, "mine"), plain(Kind::Deployment, "db")])],
                there: vec![
                    (plain(Kind::Config, "mine").content(7), There::Person),
                    (plain(Kind::Deployment, "db").content(7), There::Person),
                ],
                ..Script::default()
            },
            "S",
        ),
        (
            // The Job cannot be changed, and is made anew; the ConfigMap is replaced as a whole.
            "objects that are made anew or replaced",
            Script {
                sources: [1, 2]
                    .map(|content| {
                        small(vec![
                            plain(Kind::Job, "seed").content(content).options("Force=true"),
                            plain(Kind::Job, "both").wave(1).content(content).options("Force=true,Replace=true"),
                            plain(Kind::Config, "whole").content(content).options("Replace=true"),
                            hook("PreSync", "migrate").content(content),
                            plain(Kind::Deployment, "after").wave(2).content(content),
                        ])
                    })
                    .to_vec(),
                ..Script::default()
            },
            "SS",
        ),
        (
            "a hook that never ends",
            Script {
                sources: vec![small(vec![hook("PreSync", "stuck").ends(End::Never), hook("SyncFail", "alarm")])],
                policy: json!({"timeouts": {"hook": "5s"}}),
                ..Script::default()
            },
            "F",
        ),
    ]
}

/// Small enough for every pair of faults: a hook is deleted by its policy while the attempt fails.
pub(crate) fn for_pairs() -> Script {
    one(vec![
        hook("PreSync", "migrate").policy("HookSucceeded"),
        plain(Kind::Deployment, "broken").ends(End::Badly),
        hook("SyncFail", "alarm").ttl(0),
    ])
}
