//! Downloads by the whole program: its requests, and its messages when a download fails.
//!
//! A successful download of a real archive cannot be tested without a network, because the archive must have the
//! published checksum.

use std::net::{Shutdown, TcpStream};
use std::{fs, io, thread};

use crate::common::Workspace;
use crate::server::{Answer, Server};

/// The size of the published file, with other content.
fn impostor() -> Server {
    let file = vec![7u8; 170_052_171];
    Server::start(move |_, asked| Answer::file(&file, asked))
}

#[test]
fn an_archive_with_another_checksum_is_refused() {
    let server = impostor();
    let workspace = Workspace::new();
    let mirror = server.url("");
    let run = workspace.regun(&format!("splits data=cifar10 data.mirror={mirror}"));
    let wanted = "wanted c32a1d4ab5d03f1284b67883e8d87530";
    run.fails(3, &["downloaded twice", "cifar-10-binary.tar.gz", "got md5", wanted, "arrived damaged"]);
    assert_eq!(server.ranges(), [None, None]);
    let left: Vec<_> = fs::read_dir(workspace.path("cache")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".cifar-10-binary.tar.gz.lock"]);
}

#[test]
fn the_archive_of_each_set_is_asked_for_and_its_absence_explained() {
    let server = Server::start(|_, _| Answer::status("404 Not Found"));
    let workspace = Workspace::new();
    for (data, data_dir, name) in [
        ("cifar10", "cache", "cifar-10-binary.tar.gz"),
        ("cifar100", "cache", "cifar-100-binary.tar.gz"),
        ("tiny_imagenet", "cache/tiny-imagenet-200", "tiny-imagenet-200.zip"),
    ] {
        let run = workspace.regun(&format!("base data={data} data.mirror={}", server.url("copies")));
        let data_dir = workspace.path(data_dir).canonicalize().unwrap_or_else(|_| workspace.path(data_dir));
        run.fails(
            3,
            &[
                &format!("copies/{name}: the server answers 404 Not Found"),
                &format!("regun splits data={data} data.data_dir={}", data_dir.display()),
                &format!("/{name} by hand into"),
            ],
        );
        assert_eq!(server.asked().last().unwrap().line, format!("GET /copies/{name} HTTP/1.1"));
    }
    assert_eq!(server.asked().len(), 3);
    assert!(!workspace.path("outputs").exists(), "nothing was begun");
}

#[test]
fn no_request_is_sent_if_downloads_are_off_or_unnecessary() {
    let server = Server::start(|_, _| Answer::status("404 Not Found"));
    let mirror = server.url("");
    let workspace = Workspace::new();
    let run = workspace.regun(&format!("splits data=cifar10 data.download=false data.mirror={mirror}"));
    run.fails(3, &["data.download is false", "data.download=true"]);
    workspace.regun(&format!("splits data=digits data.download=true data.mirror={mirror}")).succeeds();
    assert!(server.asked().is_empty());
}

/// A proxy that leads every tunnel to `server`, for any requested host.
fn proxy_to(server: &Server) -> Server {
    let target = server.address.clone();
    Server::serve(move |_, _, mut client| {
        let mut server = TcpStream::connect(&target).unwrap();
        // The tunnel ends when either side closes.
        let _ = io::Write::write_all(&mut client, b"HTTP/1.1 200 OK\r\n\r\n");
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from_client, &mut to_server));
        let _ = io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Both);
    })
}

#[test]
fn proxies_of_the_environment_are_used() {
    let server = Server::start(|_, _| Answer::status("404 Not Found"));
    let proxy = proxy_to(&server);
    let workspace = Workspace::new();
    let run = |variables: &[(&str, &str)], host: &str| {
        let mut job = workspace.prepare(&format!("splits data=cifar10 data.mirror=http://{host}/x"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            job.command.env_remove(name).env_remove(name.to_lowercase());
        }
        job.command.envs(variables.iter().copied());
        job.run()
    };
    let address = format!("http://{}", proxy.address);
    // This host does not exist, so the answer came through the proxy.
    run(&[("http_proxy", &address)], "mirror.invalid").fails(3, &["http://mirror.invalid/x/cifar", "404 Not Found"]);
    assert_eq!(proxy.asked()[0].line, "CONNECT mirror.invalid:80 HTTP/1.1");
    run(&[("http_proxy", &address), ("no_proxy", "127.0.0.1")], &server.address).fails(3, &["404 Not Found"]);
    assert_eq!((proxy.asked().len(), server.asked().len()), (1, 2));
    run(&[("HTTP_PROXY", "gopher://me:secret@x")], &server.address)
        .fails(2, &["HTTP_PROXY does not name a proxy", "wanted: http://host:port"]);
}

#[test]
fn the_file_of_certificates_must_hold_some() {
    let workspace = Workspace::new();
    fs::write(workspace.path("empty.pem"), "").unwrap();
    for (file, said) in [("nowhere.pem", "No such file"), ("empty.pem", "it holds no certificate")] {
        let mut job = workspace.prepare("splits data=cifar10 data.mirror=http://127.0.0.1:1");
        job.command.env("SSL_CERT_FILE", file);
        job.run().fails(2, &[&format!("SSL_CERT_FILE={file}: "), said, "PEM certificates"]);
    }
}
