//! `sluice group list`

use clap::Args;
use kafka_lite::api::list_groups::{ListGroupsRequest, ListGroupsResponse};
use serde_json::{Value, json};

use crate::client::error::check;
use crate::command::client::{CommandError, TableOptions};
use crate::command::output::Table;

const EXAMPLES: &str = "\
Examples:
  sluice group list
  sluice group list --output json | jq -r '.[] | select(.state == \"Empty\") | .group'";

/// Arguments of `sluice group list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArguments {
    #[command(flatten)]
    options: TableOptions,
}

impl ListArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut groups: Vec<(String, String, String, i32)> = Vec::new();
        let request = ListGroupsRequest::default();
        cluster.at_every_broker(|id, broker| {
            let answer = broker.call(&request)?;
            let response: ListGroupsResponse<'_> = answer.read()?;
            check(response.error_code, None, || {
                format!("groups of broker {id}")
            })?;
            groups.extend(response.groups.iter().map(|group| {
                let (state, protocol) = (&group.group_state, &group.protocol_type);
                (
                    group.group_id.to_string(),
                    state.to_string(),
                    protocol.to_string(),
                    id,
                )
            }));
            Ok(())
        })?;
        groups.sort();
        let mut table = Table::new(&["GROUP", "STATE", "PROTOCOL", "COORDINATOR"]);
        for (name, state, protocol, coordinator) in groups {
            table.push(vec![
                json!(name),
                known(state),
                known(protocol),
                json!(coordinator),
            ]);
        }
        Ok(self.options.output().table(&table)?)
    }
}

/// Old brokers do not tell the state, and a group without members has no protocol.
fn known(text: String) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        json!(text)
    }
}
