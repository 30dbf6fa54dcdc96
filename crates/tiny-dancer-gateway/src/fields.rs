//! The keys of attributes that are recorded after their span begins, each written once.

pub(crate) const CLIENT: &str = "tiny_dancer.gateway.client";
pub(crate) const DECIDED: &str = "tiny_dancer.gateway.decided";
pub(crate) const REASON: &str = "tiny_dancer.gateway.reason";
pub(crate) const RESULT: &str = "tiny_dancer.gateway.result";
pub(crate) const SERVED: &str = "tiny_dancer.gateway.served";

pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(crate) const OTEL_STATUS_CODE: &str = "otel.status_code";
pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(crate) const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(crate) const USAGE_CACHED_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(crate) const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(crate) const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_each_attribute_of_the_gateways_own() {
        let document = include_str!("../../../docs/gateway.md");
        for key in [CLIENT, DECIDED, REASON, RESULT, SERVED] {
            assert!(document.contains(&format!("`{key}`")), "{key}");
        }
    }
}
