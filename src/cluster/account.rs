//! As whom the operator acts for an Application: the one place where that is decided.

use std::fmt;
use std::str::FromStr;

use super::client::{Calls, Connections};
use crate::api::Application;

/// Whose rights the writes of all Applications, their checks of rights and the reads for them have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Acting {
    /// Those of the service account that the Application names in its own namespace.
    #[default]
    AsNamed,
    /// Those of one account, whatever the Application says.
    AsForced(Forced),
    /// The operator's own.
    AsOperator,
}

/// The account of `--force-account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// Its namespace; `None`: that of each Application.
    namespace: Option<String>,
    /// Its name.
    name: String,
}

/// `--force-account` does not name an account.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a service account: give NAME (in the namespace of each Application) or NAMESPACE/NAME")]
pub struct NotAnAccount(String);

impl FromStr for Forced {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let is_namespace =
            |namespace: &str| is_dns_name(namespace) && namespace.len() <= 63 && !namespace.contains('.');
        if is_dns_name(name) && namespace.is_none_or(is_namespace) {
            Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
        } else {
            Err(NotAnAccount(text.to_owned()))
        }
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl Acting {
    /// Namespace and name of the account for an Application; `None`: the operator itself.
    pub fn account_for(&self, application: &Application) -> Option<(String, String)> {
        let own = || application.namespace().to_owned();
        match self {
            Self::AsNamed => Some((own(), application.service_account().to_owned())),
            Self::AsForced(Forced { namespace, name }) => Some((namespace.clone().unwrap_or_else(own), name.clone())),
            Self::AsOperator => None,
        }
    }

    /// What people have to know of it when the operator starts.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::AsNamed => None,
            Self::AsForced(forced @ Forced { namespace: None, .. }) => Some(format!(
                "--force-account {forced}: for each Application everything is written as the service account {forced} of its namespace, whatever its spec.serviceAccountName says"
            )),
            Self::AsForced(forced) => Some(format!(
                "--force-account {forced}: everything is written as the service account {forced}; whoever may write an Application, in whatever namespace, may do all that this account may: tenants are not kept apart"
            )),
            Self::AsOperator => Some(
                "--own-rights: everything is written with the operator's own rights; whoever may write an Application, in whatever namespace, may do all that the operator may: tenants are not kept apart"
                    .to_owned(),
            ),
        }
    }
}

/// Calls as an account; without one, as the operator itself.
pub fn calls(connections: &Connections, account: Option<&(String, String)>) -> Calls {
    match account {
        Some((namespace, name)) => connections.calls().acting_as(namespace, name),
        None => connections.calls(),
    }
}

/// Whether a text is a DNS name, as those of service accounts are: whatever it is put into, a path or a header, it stays one word.
pub fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        bytes.iter().all(is_inner) && bytes.first().is_some_and(|b| *b != b'-') && bytes.last() != Some(&b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn application(account: Option<&str>) -> Application {
        serde_json::from_value(json!({
            "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"source": {"inline": ""}, "serviceAccountName": account}
        }))
        .unwrap()
    }

    fn account(acting: &Acting, named: Option<&str>) -> Option<String> {
        acting.account_for(&application(named)).map(|(namespace, name)| format!("{namespace}/{name}"))
    }

    #[test]
    fn i9_the_account_is_of_the_applications_namespace_unless_the_operator_is_told_otherwise() {
        let forced = |text: &str| Acting::AsForced(text.parse().unwrap());
        assert_eq!(account(&Acting::AsNamed, None).as_deref(), Some("shop/default"));
        assert_eq!(account(&Acting::AsNamed, Some("deployer")).as_deref(), Some("shop/deployer"));
        assert_eq!(account(&forced("robot"), Some("deployer")).as_deref(), Some("shop/robot"));
        assert_eq!(account(&forced("infra/robot"), Some("deployer")).as_deref(), Some("infra/robot"));
        assert_eq!(account(&Acting::AsOperator, Some("deployer")), None);
    }

    #[test]
    fn whatever_lets_tenants_share_rights_is_said_aloud() {
        let said = |acting: Acting| acting.warning().unwrap_or_default();
        assert_eq!(said(Acting::AsNamed), "");
        assert!(!said(Acting::AsForced("robot".parse().unwrap())).contains("tenants are not kept apart"));
        for acting in [Acting::AsForced("infra/robot".parse().unwrap()), Acting::AsOperator] {
            assert!(said(acting).contains("tenants are not kept apart"));
        }
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for text in ["", "/", "a/", "/a", "a/b/c", "A", "a b", "a\nb", "a:b", "..", "-a", "x.y/z", "system:admin"] {
            assert!(text.parse::<Forced>().is_err(), "{text:?}");
        }
        assert_eq!("infra/robot.two".parse::<Forced>().unwrap().to_string(), "infra/robot.two");
    }
}
