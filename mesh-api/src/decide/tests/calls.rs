//! gRPC calls: which rule takes them, and how a call that none takes is answered.

use super::*;
use crate::model::grpc::GrpcCode;

fn grpc(mut route: Route) -> Route {
    route.kind = RouteKind::Grpc;
    route
}

#[test]
fn the_longest_service_then_the_longest_method_wins() {
    let own: &[(u32, u32)] = &[(0, 1)];
    let table = table(vec![
        grpc(route(
            "young",
            200,
            vec![
                rule(&["call pricing.Pricing/*"], own),
                rule(&["call */Quote"], own),
                rule(&["call */*"], own),
            ],
        )),
        grpc(route(
            "old",
            100,
            vec![
                rule(&["call */~Q.*|LongerThanQuote"], own),
                rule(&["call pricing.Pricing/Quote"], own),
                rule(&["call pricing.Pricing/Quote, header x-user=ann"], own),
                rule(&["call ~audit\\..*/Write"], own),
                rule(&["call pricing.Pricing/*, header x-old=1"], own),
            ],
        )),
    ]);
    for (path, fields, expected) in [
        ("/pricing.Pricing/Quote", &[][..], "demo/old[1]"),
        (
            "/pricing.Pricing/Quote",
            &[("x-user", "ann")],
            "demo/old[2]",
        ),
        ("/pricing.Pricing/List", &[], "demo/young[0]"),
        ("/pricing.Pricing/List", &[("x-old", "1")], "demo/old[4]"),
        ("/other.Service/Quote", &[], "demo/old[0]"),
        ("/audit.Log/Write", &[], "demo/old[3]"),
        ("/other.Service/List", &[], "demo/young[2]"),
        ("/Pricing.pricing/List", &[], "demo/young[2]"),
        ("/a/b/c", &[], "demo/young[2]"),
        ("/pricing.Pricing", &[], "-"),
        ("/", &[], "-"),
        ("/pricing.Pricing/", &[], "-"),
    ] {
        let line = format!("POST {path}");
        assert_eq!(winner(&table, &line, fields), expected, "{path} {fields:?}");
    }
}

#[test]
fn a_call_that_no_rule_takes_is_unimplemented() {
    let table = table(vec![grpc(route(
        "r",
        1,
        vec![rule(&["call pricing.Pricing/*"], &[(0, 1)])],
    ))]);
    with_request("POST /pricing.Other/Quote", &[], |request, _| {
        let step = super::request(&table, request, &mut Seeded(1), &mut Silent);
        let Step::Done(Decision::Respond(respond)) = step else {
            unreachable!()
        };
        assert_eq!(respond.status, 404);
        let code = respond.refusal.unwrap().grpc_code();
        assert_eq!(code, GrpcCode::Unimplemented);
    });
    let lost = explained(&table, "POST /pricing.Other/Quote", &[]).lost;
    assert_eq!(
        lost[0].matches[0].to_string(),
        "matches[0]: service is \"pricing.Other\", not exact pricing.Pricing"
    );
    assert_eq!(lost[0].place.to_string(), "GRPCRoute demo/r spec.rules[0]");
}
