//! A browser without a screen: keeps cookies, follows redirects, submits the forms that it is shown.
use std::collections::BTreeMap;
use std::sync::OnceLock;

use tokio::runtime::Runtime;
use url::Url;

/// Most pages on the way through one sign-in.
const PAGES_MAX: usize = 30;

/// One browser, with the cookies of one person.
#[derive(Debug, Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Opens an address and goes on until there is a page with nothing to submit. Answers that page.
    ///
    /// # Panics
    /// When it never comes to an end.
    #[track_caller]
    pub fn open(&mut self, address: &str) -> String {
        let mut url: Url = address.parse().unwrap();
        let mut form = None;
        for _ in 0..PAGES_MAX {
            let (to, page) = self.load(&url, form.take());
            match to {
                Some(to) => url = url.join(&to).unwrap(),
                None => match hidden_form(&page) {
                    Some((action, fields)) => (url, form) = (url.join(&action).unwrap(), Some(fields)),
                    None => return page,
                },
            }
        }
        panic!("{address} leads on and on");
    }

    fn load(&mut self, url: &Url, form: Option<String>) -> (Option<String>, String) {
        static RUNTIME: OnceLock<(Runtime, reqwest::Client)> = OnceLock::new();
        let (runtime, client) = RUNTIME.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
            (runtime, client.build().unwrap())
        });
        let request = match form {
            Some(fields) => {
                client.post(url.clone()).body(fields).header("content-type", "application/x-www-form-urlencoded")
            }
            None => client.get(url.clone()),
        };
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        runtime.block_on(async {
            let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
            let status = answer.status();
            let page = answer.text().await.unwrap();
            assert!(!status.is_server_error(), "{url}: {page}");
            (to, page)
        })
    }
}

/// Action and encoded fields of the first form of a page.
fn hidden_form(page: &str) -> Option<(String, String)> {
    let form = &page[page.find("<form")?..];
    let action = attribute(&form[..form.find('>')?], "action")?;
    let inputs = form.split("<input").skip(1).map(|input| &input[..input.find('>').unwrap_or(input.len())]);
    let fields = inputs.filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)));
    let fields = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Some((action, fields))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = &tag[tag.find(&format!("{name}=\""))? + name.len() + 2..];
    Some(rest[..rest.find('"')?].to_owned())
}
