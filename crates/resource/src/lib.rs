//! Typed ids, tenant scope, resource names, the error, the Authorizer trait.
