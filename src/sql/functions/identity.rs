//! Who is part of the platform: `is_system_user`.

use datafusion::error::Result;

use super::text::{Argument, Gives, TextFunction, Value};

/// `is_system_user(user_name)`
pub(super) struct IsSystemUser;

impl TextFunction for IsSystemUser {
    const NAME: &'static str = "is_system_user";
    const ARGUMENTS: &'static [Argument] =
        &[Argument { name: "user_name", meaning: "The name the request was authenticated as." }];
    const DESCRIPTION: &'static str = "Whether the name belongs to a component of the cluster: it \
         begins with `system:` and is neither a service account, nor `system:anonymous`, nor a \
         person's (`system:admin` of K3s and OpenShift, `system:masters`). FALSE for \
         NULL, so that `NOT is_system_user(user_name)` keeps events without a user.";
    const EXAMPLE: &'static str = "NOT is_system_user(user_name)";
    const GIVES: Gives = Gives::Boolean;
    const OF_NULL: Option<bool> = Some(false);
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        let name = text.strip_prefix("system:");
        let is_person = |name: &str| matches!(name, "anonymous" | "admin" | "masters");
        name.is_some_and(|name| !is_person(name) && !name.starts_with("serviceaccount:")).into()
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::functions::tests::check;

    #[test]
    fn components_are_system_users_and_nobody_else_is() {
        let rows = [
            Some("system:kube-controller-manager"),
            Some("system:node:node-1"),
            Some("system:apiserver"),
            Some("system:serviceaccount:kube-system:default"),
            Some("system:anonymous"),
            Some("system:admin"),
            Some("alice"),
            Some("systemd:alice"),
            Some("System:apiserver"),
            Some(""),
            None,
        ];
        let mut expected = ["false"; 11];
        expected[..3].fill("true");
        check(&rows, "is_system_user({})", &expected);
    }
}
