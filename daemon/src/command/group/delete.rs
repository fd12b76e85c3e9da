//! `sluice group delete`

use clap::Args;
use kafka_lite::api::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use serde_json::json;

use crate::client::error::check;
use crate::client::{ClientError, Cluster};
use crate::command::client::{CommandError, TableOptions, finish};
use crate::command::output::Table;

const EXAMPLES: &str = "\
Examples:
  sluice group delete billing reports";

/// Arguments of `sluice group delete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeleteArguments {
    /// Names of the groups; they must have no members
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    #[command(flatten)]
    options: TableOptions,
}

impl DeleteArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut table = Table::new(&["GROUP", "STATUS"]);
        let mut errors = Vec::new();
        for name in &self.names {
            let done = delete(&mut cluster, name);
            let status = if done.is_ok() { "deleted" } else { "failed" };
            table.push(vec![json!(name), json!(status)]);
            errors.extend(done.err());
        }
        self.options.output().table(&table)?;
        finish(errors)
    }
}

fn delete(cluster: &mut Cluster, name: &str) -> Result<(), ClientError> {
    let request = DeleteGroupsRequest {
        groups_names: vec![name.into()],
    };
    cluster.at_coordinator(name, |coordinator| {
        let answer = coordinator.call(&request)?;
        let response: DeleteGroupsResponse<'_> = answer.read()?;
        let mut results = response.results.iter();
        results.try_for_each(|result| check(result.error_code, None, || format!("group {name}")))
    })
}
