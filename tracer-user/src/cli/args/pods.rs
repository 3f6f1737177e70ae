//! Which pods are traced.

use clap::Args;

use crate::workload::select::labels::LabelSelector;
use crate::workload::select::{PodName, Selection};

/// Which pods are traced.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Which pods of this node (different options: and; several values: or)"
)]
pub struct PodArgs {
    /// Only this pod: NAMESPACE/NAME, or NAME with --namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',', value_parser = pod_name)]
    pub pod: Vec<PodName>,

    /// Only pods with all of these labels, as for kubectl: app=checkout,tier!=db,env in (a,b),!canary
    #[arg(long, value_name = "SELECTOR")]
    pub selector: Vec<LabelSelector>,

    /// Only pods of this namespace
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub namespace: Vec<String>,

    /// Exclude pods of this namespace
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub exclude_namespace: Vec<String>,

    /// Only the container of this name in each pod
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = container)]
    pub container: Vec<String>,
}

impl PodArgs {
    /// As the library takes it.
    ///
    /// # Errors
    /// It says no pod, whatever pods there are; with the remedy.
    pub fn selection(&self) -> Result<Selection, String> {
        for pod in &self.pod {
            match &pod.namespace {
                None if self.namespace.is_empty() => {
                    return Err(format!(
                        "--pod {pod} does not say of which namespace (give --pod NAMESPACE/{pod}, or --namespace \
                         NAMESPACE too)"
                    ));
                }
                Some(namespace)
                    if !self.namespace.is_empty() && !self.namespace.contains(namespace) =>
                {
                    return Err(format!(
                        "--pod {pod} is of another namespace than --namespace {} (leave one of them out)",
                        self.namespace.join(",")
                    ));
                }
                _ => {}
            }
        }
        if let Some(both) = self
            .namespace
            .iter()
            .chain(self.pod.iter().filter_map(|pod| pod.namespace.as_ref()))
            .find(|namespace| self.exclude_namespace.contains(namespace))
        {
            return Err(format!(
                "namespace {both} is selected and excluded (leave out --exclude-namespace {both})"
            ));
        }
        Ok(Selection {
            pods: self.pod.clone(),
            namespaces: self.namespace.clone(),
            excluded_namespaces: self.exclude_namespace.clone(),
            selectors: self.selector.clone(),
            containers: self.container.clone(),
        })
    }
}

/// Longest name of a pod, in bytes: a DNS subdomain (RFC 1123).
const POD_MAX: usize = 253;

/// Longest name of a namespace or a container: a DNS label.
const LABEL_MAX: usize = 63;

fn pod_name(given: &str) -> Result<PodName, String> {
    // As kubectl prints it.
    let given = given.strip_prefix("pod/").unwrap_or(given);
    let (of, name) = match given.split_once('/') {
        Some((of, name)) => (Some(namespace(of)?), name),
        None => (None, given),
    };
    if name.len() > POD_MAX || !name.split('.').all(is_label) {
        return Err(format!(
            "{name:?} is no name of a pod (small letters, digits, - and .)"
        ));
    }
    Ok(PodName {
        namespace: of,
        name: name.to_owned(),
    })
}

fn namespace(given: &str) -> Result<String, String> {
    label(given, "namespace")
}

fn container(given: &str) -> Result<String, String> {
    label(given, "container")
}

fn label(given: &str, of: &str) -> Result<String, String> {
    if given.len() <= LABEL_MAX && is_label(given) {
        return Ok(given.to_owned());
    }
    Err(format!(
        "{given:?} is no name of a {of} (small letters, digits and -)"
    ))
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;

    fn selection(arguments: &[&str]) -> Result<Selection, String> {
        let arguments = ["h2trace", "trace"].iter().chain(arguments);
        let cli = Cli::read(arguments).map_err(|error| error.to_string())?;
        let Command::Trace(args) = cli.command else {
            panic!("not trace")
        };
        args.filter.pods.selection()
    }

    #[test]
    fn options_become_a_selection() {
        let both = selection(&[
            "--pod",
            "shop/cart-1,shop/db-0",
            "--container",
            "app",
            "--selector",
            "env in (a,b),!canary",
            "--selector",
            "tier=web",
        ])
        .unwrap();
        assert_eq!(both.pods[1].to_string(), "shop/db-0");
        assert_eq!(both.containers, ["app"]);
        // The commas of a selector are its own.
        let selectors: Vec<String> = both.selectors.iter().map(ToString::to_string).collect();
        assert_eq!(selectors, ["env in (a,b),!canary", "tier=web"]);
        let one = selection(&["--pod", "cart-1", "--namespace", "shop,bank"]).unwrap();
        assert_eq!(
            (one.pods[0].namespace.as_ref(), one.namespaces.len()),
            (None, 2)
        );
        assert!(selection(&["--all", "--exclude-namespace", "kube-system"]).is_ok());
    }

    #[test]
    fn what_selects_nothing_or_is_no_name_is_refused_with_the_remedy() {
        for (arguments, said) in [
            (&["--pod", "cart-1"][..], "--pod NAMESPACE/cart-1"),
            (
                &["--pod", "shop/cart-1", "--namespace", "bank"],
                "another namespace",
            ),
            (
                &["--namespace", "shop", "--exclude-namespace", "shop"],
                "selected and excluded",
            ),
            (
                &["--pod", "shop/cart-1", "--exclude-namespace", "shop"],
                "selected and excluded",
            ),
            (&["--pod", "shop/Cart"], "no name of a pod"),
            (&["--pod", "shop/a/b"], "no name of a pod"),
            (&["--namespace", "-x"], "unexpected argument"),
            (&["--namespace", "Shop"], "no name of a namespace"),
            (&["--selector", "app in cart"], "column 8"),
            (&["--selector", ""], "column 1"),
            (&["--all", "--pod", "shop/cart-1"], "cannot be used with"),
            (&["--all", "--namespace", "shop"], "cannot be used with"),
        ] {
            let error = selection(arguments).unwrap_err();
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
    }
}
