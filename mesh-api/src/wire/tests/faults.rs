//! What is refused, and at which path.

use super::*;

#[test]
fn every_fault_has_its_path() {
    let moved = Redirect {
        scheme: None,
        hostname: None,
        path: None,
        port: None,
        status: 302,
    };
    let sound = destination(vec![route(
        "r",
        1,
        vec![
            rule(&["prefix /a, header x-a=1"], &[(0, 1)]),
            redirect("exact /b", moved),
        ],
    )]);
    let name = Entry::Destination(sound.clone()).name();
    let mut message = destination::write(&sound);
    message.consumer = "Demo".into();
    message.protocol = 77;
    message.backends[0].endpoints[1].weight = 0;
    message.backends[2].name = "demo/catalog:0".into();
    let rules = &mut message.routes[0].rules;
    rules[0].matches[0].headers[0].value =
        Some(generated::named_match::Value::RegularExpression("(".into()));
    rules[0].request_headers = Some(generated::HeaderChanges {
        set: vec![generated::Header {
            name: "host".into(),
            value: "a\r\nb".into(),
        }],
        add: Vec::new(),
        remove: vec!["Transfer-Encoding".into()],
    });
    if let Some(generated::rule::Action::Forward(forward)) = &mut rules[0].action {
        forward.backends[0].target = Some(generated::weighted_backend::Target::Backend(3));
    }
    if let Some(generated::rule::Action::Redirect(redirect)) = &mut rules[1].action {
        redirect.status = 200;
    }
    let kind = Some(generated::entry::Kind::Destination(message));
    let faults = decode(&name, &generated::Entry { kind }.encode_to_vec()).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "consumer",
            "protocol",
            "routes[0].rules[0].matches[0].headers[0].regularExpression",
            "routes[0].rules[0].requestHeaders.set[0].name",
            "routes[0].rules[0].requestHeaders.set[0].value",
            "routes[0].rules[0].requestHeaders.remove[0]",
            "routes[0].rules[0].forward.backends[0].backend",
            "routes[0].rules[1].redirect.status",
            "backends[0].endpoints[1].weight",
            "backends[2].name",
        ]
    );
}

#[test]
fn content_of_another_name_is_refused() {
    let encoded = encode(&Entry::Destination(destination(Vec::new())));
    let other = "destination/demo/other:80".parse().unwrap();
    let faults = decode(&other, &encoded.bytes).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "holds destination/demo/catalog:80, not destination/demo/other:80"
    );
    let unknown = features::missing_features(&["http-route".into(), "new".into()]);
    assert_eq!(unknown, ["new"]);
}

#[test]
fn routes_of_connections_and_calls_are_checked() {
    let mut grpc = route("g", 1, vec![rule(&["call a.B/C"], &[(0, 1)])]);
    grpc.kind = RouteKind::Grpc;
    let mut sound = destination(vec![grpc]);
    sound.connection_routes = vec![ConnectionRoute {
        kind: ConnectionRouteKind::Tls,
        name: "demo/t".parse().unwrap(),
        created: 1,
        hostnames: vec!["a.b".parse().unwrap()],
        rule: ConnectionRule {
            name: None,
            backends: vec![ConnectionBackend {
                weight: 1,
                target: Target::Backend(0),
            }],
            retry: Sourced::default(),
        },
    }];
    let name = Entry::Destination(sound.clone()).name();
    let paths = |change: fn(&mut generated::Destination)| {
        let mut message = destination::write(&sound);
        change(&mut message);
        let kind = Some(generated::entry::Kind::Destination(message));
        let faults = decode(&name, &generated::Entry { kind }.encode_to_vec());
        let paths = faults.map_or_else(|faults| faults, |_| Vec::new());
        paths
            .into_iter()
            .map(|fault| fault.path)
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(|_| {}), [""; 0]);
    assert_eq!(
        paths(|message| {
            let route = &mut message.connection_routes[0];
            route.kind = 9;
            route.hostnames = vec!["A.b".into()];
            let rule = route.rule.as_mut().unwrap();
            rule.backends[0].weight = 1_000_001;
            rule.backends[0].target = Some(generated::connection_backend::Target::Backend(3));
            rule.retry.as_mut().unwrap().grpc_codes = vec![14, 17];
        }),
        [
            "connectionRoutes[0].kind",
            "connectionRoutes[0].hostnames[0]",
            "connectionRoutes[0].hostnames",
            "connectionRoutes[0].rule.backends[0].weight",
            "connectionRoutes[0].rule.backends[0].backend",
            "connectionRoutes[0].rule.retry.grpcCodes[1]",
        ]
    );
    assert_eq!(
        paths(|message| message.connection_routes[0].hostnames.clear()),
        ["connectionRoutes[0].hostnames"]
    );
    assert_eq!(
        paths(|message| {
            message.routes[0].kind = 7;
            let call = generated::CallMatch {
                service: Some(generated::TextMatch { kind: None }),
                method: Some(generated::TextMatch {
                    kind: Some(generated::text_match::Kind::RegularExpression(
                        "a)|(b".into(),
                    )),
                }),
            };
            let path = message.routes[0].rules[0].matches[0].path.as_mut().unwrap();
            path.kind = Some(generated::path_match::Kind::Call(call));
        }),
        [
            "routes[0].kind",
            "routes[0].rules[0].matches[0].path.service",
            "routes[0].rules[0].matches[0].path.method",
        ]
    );
}
