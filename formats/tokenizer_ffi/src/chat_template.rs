//! A model's Jinja chat template, rendered as transformers renders it: trim_blocks, lstrip_blocks,
//! loop controls, Python string methods and `raise_exception`.
//!
//! `strftime_now` is left undefined on purpose: templates then fall back to a fixed date, and the
//! same row gives the same tokens on every day.

use minijinja::{context, Environment, Error, ErrorKind, Value};

const NAME: &str = "chat_template";

/// The special tokens that templates refer to by name, as `bos_token`.
pub type NamedTokens = Vec<(String, String)>;

pub struct ChatTemplate {
    environment: Environment<'static>,
    named_tokens: NamedTokens,
}

impl ChatTemplate {
    pub fn new(source: String, named_tokens: NamedTokens) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| format!("the chat template does not parse: {error}"))?;
        Ok(Self { environment, named_tokens })
    }

    /// `messages` are pairs of role and content.
    pub fn render(
        &self,
        messages: &[(&str, &str)],
        add_generation_prompt: bool,
    ) -> Result<String, String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|(role, content)| context! { role => *role, content => *content })
            .collect();
        let mut variables: Vec<(String, Value)> = vec![
            ("messages".into(), Value::from(messages)),
            ("add_generation_prompt".into(), Value::from(add_generation_prompt)),
            // transformers passes these two as None.
            ("tools".into(), Value::from(())),
            ("documents".into(), Value::from(())),
        ];
        for (name, token) in &self.named_tokens {
            variables.push((name.clone(), Value::from(token.as_str())));
        }
        let variables: Value = variables.into_iter().collect();
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(variables))
            .map_err(|error| {
                // The detail alone: the full display quotes the messages in debug mode.
                let detail = error.detail().unwrap_or("no detail").to_string();
                format!("the chat template refuses the messages: {}: {detail}", error.kind())
            })
    }
}
