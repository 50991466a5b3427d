//! What of addresses a query asks, against what `needs:` names: what is needed and not supplied
//! is told; what is asked without being needed is NULL, and nobody hears of it.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Complaint;
use super::reading::{Reading, for_each_expression};
use crate::detect::compared::literal_text;

const RULE: &str = "needs";

/// The lists and databases that expressions ask.
#[derive(Default)]
struct Asked {
    lists: BTreeSet<String>,
    databases: BTreeSet<&'static str>,
}

impl Asked {
    fn see(&mut self, expr: &Expr) {
        let Expr::ScalarFunction(function) = expr else { return };
        match function.name() {
            "listed_ip" => {
                if let Some(Expr::Literal(value, _)) = function.args.get(1) {
                    self.lists.extend(literal_text(value).map(str::to_owned));
                }
            }
            "ip_asn" | "ip_as_org" => drop(self.databases.insert("asn")),
            "ip_country" => drop(self.databases.insert("country")),
            _ => {}
        }
    }
}

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let (mut anywhere, mut deciding) = (Asked::default(), Asked::default());
    for_each_expression(&reading.written, |node, expr| {
        // Nothing that is seen fails.
        let _ = expr.apply(|expr| {
            anywhere.see(expr);
            if matches!(node, LogicalPlan::Filter(_)) {
                deciding.see(expr);
            }
            Ok(TreeNodeRecursion::Continue)
        });
    });
    let needs = &reading.detection.needs;
    let line = reading.detection.line_of("needs");
    let warn = |message: String, hint: &str| reading.warning(RULE, line, message, hint);
    let mut complaints = Vec::new();
    let missing = deciding.lists.iter().filter(|list| !needs.address_lists.contains(list));
    complaints.extend(missing.map(|list| {
        let message = format!("needs: address_lists do not name `{list}`, which is asked");
        warn(message, "name it: without the list the answer is NULL")
    }));
    let named = |name: &str| needs.address_databases.iter().any(|of| of == name);
    let missing = deciding.databases.iter().filter(|name| !named(name));
    complaints.extend(missing.map(|name| {
        let message = format!("needs: address_databases do not name `{name}`, which is asked");
        warn(message, "name it: without the database the answer is NULL")
    }));
    let idle = needs.address_lists.iter().filter(|name| !anywhere.lists.contains(*name));
    complaints.extend(idle.map(|name| {
        let message = format!("needs: address_lists name `{name}`, which is never asked");
        warn(message, "remove it, or ask `listed_ip(source_ip, 'NAME')`")
    }));
    let idle = needs.address_databases.iter();
    let idle = idle.filter(|name| !anywhere.databases.contains(name.as_str()));
    complaints.extend(idle.map(|name| {
        let message = format!("needs: address_databases name `{name}`, which is never asked");
        warn(message, "remove it, or ask `ip_asn`, `ip_as_org` or `ip_country`")
    }));
    complaints
}
