//! One file per subcommand. May use `source` and `render`.

pub(crate) mod check;
pub(crate) mod complete;
pub(crate) mod control;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod inject;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod proxy;
pub(crate) mod proxy_config;
pub(crate) mod proxy_status;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod signal;
pub(crate) mod test;
pub(crate) mod token;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
pub(crate) mod validate;
pub(crate) mod verdict;
pub(crate) mod version;
pub(crate) mod watch;
