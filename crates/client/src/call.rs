//! What every RPC says of itself, made from the API's descriptors by `build.rs`: with it one piece of code calls
//! any of them, and a new RPC is callable as soon as it is in the API.

use prost::Message;

/// A request that one message is enough for; the RPC follows from its type.
pub trait Call: Message + Default + Clone + 'static {
    /// What is answered: once, or again and again.
    type Answer: Message + Default + 'static;
    /// `/package.v1.Service/Method`.
    const PATH: &'static str;
    /// The component whose server answers, by the name of its package. `chainfire` is no component: every server
    /// answers for its own events.
    const COMPONENT: &'static str;

    /// Whether it may be sent again when nobody knows if it arrived: it only looks, or has a `request_id`.
    fn is_repeatable(&self) -> bool;

    /// `org_id` and `project_id`, those that it has.
    fn scope_mut(&mut self) -> (Option<&mut String>, Option<&mut String>);

    /// Fills the scope in where it is empty.
    fn within(mut self, org: &str, project: &str) -> Self {
        let (mine, of_project) = self.scope_mut();
        if let Some(field) = mine.filter(|field| field.is_empty()) {
            org.clone_into(field);
        }
        if let Some(field) = of_project.filter(|field| field.is_empty()) {
            project.clone_into(field);
        }
        self
    }
}

/// A call that is answered once.
pub trait Unary: Call {}

/// A call that is answered by a stream.
pub trait Watch: Call {}

/// A call about one resource, by its `id`, which may be its name where the API says so.
pub trait Of: Unary {
    /// `id`.
    fn id_mut(&mut self) -> &mut String;

    /// The request about this one, with nothing else in it.
    fn of(id: impl Into<String>) -> Self {
        let mut request = Self::default();
        *request.id_mut() = id.into();
        request
    }
}

/// A call that changes something, once for each `request_id`.
pub trait Change: Unary {
    /// `request_id`; empty: a repeated call is a new one.
    fn request_id_mut(&mut self) -> &mut String;
}

/// A call that is answered by one page of a list.
pub trait List: Unary {
    /// What is listed.
    type Item: Message + Default + 'static;

    /// `page_size` and `page_token`.
    fn page_mut(&mut self) -> (&mut u32, &mut String);

    /// What is on the page, and the token of the next one; empty on the last.
    fn page(answer: Self::Answer) -> (Vec<Self::Item>, String);
}

/// What a component keeps.
pub trait Resource: Message + Default + 'static {
    /// Its message's full name: `prismnet.v1.Vpc`.
    const NAME: &'static str;
}

/// A resource with an id and a name.
pub trait Named: Resource {
    /// Its id.
    fn id(&self) -> &str;
    /// Its name, unique where it is.
    fn name(&self) -> &str;
}

/// An answer that is one resource and nothing else.
pub trait Carries {
    /// The resource.
    type Resource: Resource;

    /// It; a correct server always fills it in.
    fn resource(self) -> Option<Self::Resource>;
}

include!(concat!(env!("OUT_DIR"), "/calls.rs"));
