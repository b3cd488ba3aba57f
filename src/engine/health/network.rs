//! Service and Ingress. Their addresses come from controllers that many clusters do not have (V17).

use serde_json::Value;

use super::Verdict;
use super::read::{list, text};

pub(super) fn service(object: &Value) -> Verdict {
    if is_load_balancer(object) && !has_address(object) {
        let message = "waiting for an address of the load balancer (status.loadBalancer.ingress is empty)";
        return Verdict::progressing("NoAddress", message.to_owned());
    }
    Verdict::healthy()
}

pub(super) fn is_load_balancer(object: &Value) -> bool {
    text(object, &["spec", "type"]) == Some("LoadBalancer")
}

pub(super) fn ingress(object: &Value) -> Verdict {
    if has_address(object) {
        return Verdict::healthy();
    }
    let message = "waiting for an address from the ingress controller (status.loadBalancer.ingress is empty)";
    Verdict::progressing("NoAddress", message.to_owned())
}

fn has_address(object: &Value) -> bool {
    !list(object, &["status", "loadBalancer", "ingress"]).is_empty()
}
