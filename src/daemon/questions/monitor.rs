//! Whether a resource works: this program asks its agent.

use crate::cluster::event::Finding;
use crate::daemon::services::Watched;

use super::{Inquiry, Judge, Plans, Program};

/// The child that asks.
pub(super) fn inquiry(plans: &Plans, resource: u16) -> Result<Inquiry, String> {
    let Some(Watched { key, index, settings, limit, .. }) = plans.services.get(usize::from(resource)) else {
        return Err(format!("there is no watched resource number {resource}"));
    };
    let arguments = vec!["service".into(), "monitor".into(), key.clone(), index.to_string()];
    let title = format!("monitor of {}", settings.word);
    let program = Program::Applet("ResourceManager");
    Ok(Inquiry { arguments, ..Inquiry::new(program, *limit, &title, Judge::Code(judge)) })
}

/// Exit codes of `ResourceManager service monitor`.
fn judge(code: i32) -> Finding {
    match code {
        0 => Finding::Yes,
        1 => Finding::No("its agent says that it does not run".to_owned()),
        code => Finding::Failed(format!("its agent was not asked (code {code})")),
    }
}
