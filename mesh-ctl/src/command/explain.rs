//! `meshctl explain`: what happens to a request, and why.
