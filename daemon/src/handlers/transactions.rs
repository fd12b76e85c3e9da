//! ListTransactions and DescribeTransactions: no transactional id is authorised, so none has a
//! state.
//!
//! Source            Kafka 4.3 `TransactionCoordinator.handleListTransactions` and
//!                   `handleDescribeTransactions`.

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};
use kafka_lite::api::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use kafka_lite::error_code::ErrorCode;

use super::{Reply, RequestContext};

/// The states that a transaction of Kafka can have.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// Answers ListTransactions.
pub(super) fn list(request: &RequestContext, reply: Reply) {
    let body: ListTransactionsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    reply.send(&listed(&body));
}

fn listed<'a>(body: &ListTransactionsRequest<'a>) -> ListTransactionsResponse<'a> {
    let unknown = body
        .state_filters
        .iter()
        .filter(|state| !STATES.contains(&&***state));
    ListTransactionsResponse {
        unknown_state_filters: unknown.cloned().collect(),
        ..ListTransactionsResponse::default()
    }
}

/// Answers DescribeTransactions.
pub(super) fn describe(request: &RequestContext, reply: Reply) {
    let body: DescribeTransactionsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let states = body
        .transactional_ids
        .into_iter()
        .map(|transactional_id| TransactionState {
            error_code: ErrorCode::TransactionalIdNotFound,
            transactional_id,
            ..TransactionState::default()
        });
    reply.send(&DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..DescribeTransactionsResponse::default()
    });
}

#[cfg(test)]
mod tests {
    use kafka_lite::api::list_transactions::ListTransactionsRequest;
    use kafka_lite::primitive::Text;

    use super::listed;

    #[test]
    fn filters_that_name_no_state_are_told() {
        let body = ListTransactionsRequest {
            state_filters: vec!["Ongoing".into(), "Sleeping".into()],
            ..ListTransactionsRequest::default()
        };
        assert_eq!(
            listed(&body).unknown_state_filters,
            [Text::from("Sleeping")]
        );
    }
}
