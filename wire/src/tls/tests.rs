//! Who gets in, who is found out, and what a stranger learns.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use sha2::{Digest as _, Sha256};

use crate::id::NodeId;

/// A certificate authority for a test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these names, and its key.
    fn issue(&self, names: Vec<String>, usages: Vec<ExtendedKeyUsagePurpose>) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = usages;
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    fn of(&self, who: &Identity) -> Tls {
        let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.tls(&self.issue(who.dns_names(), both))
    }

    fn tls(&self, (certificate, key): &(String, String)) -> Tls {
        let own = Some((certificate.as_bytes(), key.as_bytes()));
        Tls::new(TlsMaterial { ca: self.pem.as_bytes(), own }).expect("they belong together")
    }

    fn anonymous(&self) -> Tls {
        Tls::new(TlsMaterial { ca: self.pem.as_bytes(), own: None }).expect("usable")
    }
}

fn identity(proof: &Proof) -> Option<&Identity> {
    let Proof::Secured(bearer) = proof else { return None };
    bearer.as_ref().map(|bearer| &bearer.identity)
}

const SERVER: Identity = Identity::Datanode(NodeId(7));

/// What a server makes of whoever `client` is: what the client gets back of what it says, and the proof.
async fn meet(client: &Tls, whom: PeerName, server: &Tls) -> (io::Result<Vec<u8>>, Proof) {
    let (near, far) = duplex(1 << 16);
    let mut arriving = server.accept(far);
    let proof = arriving.proof();
    let echo = async {
        let mut said = [0; 4];
        arriving.read_exact(&mut said).await?;
        arriving.write_all(&said).await?;
        arriving.flush().await
    };
    let speak = async {
        let mut stream = client.connect(near, whom).await?;
        stream.write_all(b"DFS1").await?;
        stream.flush().await?;
        let mut heard = vec![0; 4];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    };
    let (said, _echoed) = tokio::join!(speak, echo);
    (said, proof.get())
}

#[tokio::test]
async fn each_end_knows_who_the_other_is() {
    let authority = Authority::new();
    let server = authority.of(&SERVER);
    assert_eq!(server.identity(), Some(&SERVER));
    for who in
        [Identity::Coordinator(NodeId(1)), Identity::Datanode(NodeId(2)), Identity::User("ada".to_owned())]
    {
        let (said, proof) = meet(&authority.of(&who), PeerName::Node(NodeId(7)), &server).await;
        assert_eq!(said.expect("it is heard"), b"DFS1");
        assert_eq!(identity(&proof), Some(&who));
    }
    let (said, proof) = meet(&authority.anonymous(), PeerName::Node(NodeId(7)), &server).await;
    assert_eq!((said.expect("it is heard"), proof), (b"DFS1".to_vec(), Proof::Secured(None)));
}

#[tokio::test]
async fn a_key_is_known_by_the_same_digest_with_its_certificate_and_without() {
    let authority = Authority::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(SERVER.dns_names()).expect("names");
    params.extended_key_usages = vec![];
    let pem = params.signed_by(&key, &authority.issuer).expect("signed").pem();
    let bearer = bearer_of(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"));
    let bare = crate::message::enroll::PublicKey(key.public_key_raw().to_vec());
    assert!(bare.is_well_formed());
    assert_eq!(bearer, Some(Bearer { identity: SERVER, key: bare.digest(&SERVER) }));
}

#[tokio::test]
async fn another_than_who_was_meant_is_found_out() {
    let authority = Authority::new();
    let (datanode, client) = (authority.of(&SERVER), authority.anonymous());
    for whom in [PeerName::Coordinator, PeerName::Node(NodeId(8))] {
        let (said, proof) = meet(&client, whom, &datanode).await;
        assert_eq!(said.expect_err("it is another").kind(), io::ErrorKind::InvalidData, "{whom}");
        assert_eq!(proof, Proof::Plain, "nothing was proved");
    }
    let coordinator = authority.of(&Identity::Coordinator(NodeId(9)));
    assert!(meet(&client, PeerName::Coordinator, &coordinator).await.0.is_ok());
}

#[tokio::test]
async fn what_another_authority_signed_is_worth_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.of(&SERVER);
    let mut forged = theirs.of(&Identity::Coordinator(NodeId(1)));
    let (said, proof) = meet(&forged, PeerName::Node(NodeId(7)), &server).await;
    assert!(said.is_err() && proof == Proof::Plain, "the server is not trusted by the stranger");
    forged.connecting = {
        // It trusts whom it does not need to, and shows what it has.
        let (certificate, key) = theirs.issue(Identity::Coordinator(NodeId(1)).dns_names(), vec![]);
        let own = Some((certificate.as_bytes(), key.as_bytes()));
        let both = format!("{}{}", ours.pem, theirs.pem);
        Tls::new(TlsMaterial { ca: both.as_bytes(), own }).expect("they belong together").connecting
    };
    let (said, proof) = meet(&forged, PeerName::Node(NodeId(7)), &server).await;
    let error = said.expect_err("the stranger is not trusted by the server");
    assert!(is_distrust(&error) && !speaks_no_tls(&error), "{error}");
    assert_eq!(proof, Proof::Plain);
}

#[tokio::test]
async fn a_newcomer_knows_the_authority_by_its_digest_alone() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let newcomer = Tls::pinned(Sha256::digest(der(&ours.pem)).into()).expect("usable");
    let showing = |authority: &Authority, shown: &str| {
        let (certificate, key) = authority.issue(SERVER.dns_names(), vec![]);
        authority.tls(&(format!("{certificate}{shown}"), key))
    };
    let meets = |server| async move { meet(&newcomer.clone(), PeerName::Node(NodeId(7)), &server).await };
    let (said, proof) = meets.clone()(showing(&ours, &ours.pem)).await;
    assert_eq!((said.expect("it is heard"), proof), (b"DFS1".to_vec(), Proof::Secured(None)));
    assert!(meets.clone()(showing(&ours, "")).await.0.is_err(), "the authority is not shown");
    assert!(meets.clone()(showing(&theirs, &theirs.pem)).await.0.is_err(), "another authority");
    assert!(meets.clone()(showing(&theirs, &ours.pem)).await.0.is_err(), "shown, but it did not sign");
    let another = Tls::pinned([7; 32]).expect("usable");
    let (said, _) = meet(&another, PeerName::Node(NodeId(7)), &showing(&ours, &ours.pem)).await;
    assert!(is_distrust(&said.expect_err("it is not the one")));
}

#[tokio::test]
async fn a_plain_connection_is_told_by_its_first_byte_and_proves_nothing() {
    for with_tls in [true, false] {
        let authority = Authority::new();
        let server = if with_tls { authority.of(&SERVER) } else { authority.anonymous() };
        let (mut near, far) = duplex(64);
        let mut arriving = server.accept(far);
        near.write_all(b"DFS1....").await.expect("room");
        let mut heard = [0; 8];
        arriving.read_exact(&mut heard).await.expect("read");
        assert_eq!((&heard, arriving.proof().get()), (b"DFS1....", Proof::Plain));
        arriving.write_all(b"well").await.expect("written");
        let mut answer = [0; 4];
        near.read_exact(&mut answer).await.expect("read");
        assert_eq!(&answer, b"well");
    }
}

#[tokio::test]
async fn nonsense_after_a_first_byte_of_tls_and_silence_end_the_connection() {
    let server = Authority::new().of(&SERVER);
    let (mut near, far): (DuplexStream, _) = duplex(1 << 12);
    near.write_all(&[TLS_FIRST, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await.expect("room");
    drop(near);
    let mut arriving = server.accept(far);
    let error = arriving.read_u8().await.expect_err("it is nonsense");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(arriving.read_u8().await.is_err() && arriving.write_all(b"x").await.is_err(), "it stays over");
    let (near, far) = duplex(64);
    drop(near);
    let mut arriving = server.accept(far);
    assert_eq!(arriving.read(&mut [0; 8]).await.expect("an end"), 0);
}

const TLS_FIRST: u8 = 22;

#[test]
fn what_does_not_belong_together_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(SERVER.dns_names(), vec![]);
    let (_, other_key) = authority.issue(SERVER.dns_names(), vec![]);
    let (nobody, nobodys_key) = authority.issue(vec!["example.org".to_owned()], vec![]);
    let other = Authority::new().issue(SERVER.dns_names(), vec![]);
    // A client's certificate does not make a server, whatever its names.
    let client = authority.issue(SERVER.dns_names(), vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let new = |ca: &str, own: Option<(&str, &str)>| {
        let own = own.map(|(certificate, key)| (certificate.as_bytes(), key.as_bytes()));
        Tls::new(TlsMaterial { ca: ca.as_bytes(), own }).map(drop).map_err(|e| e.to_string())
    };
    let ca = &*authority.pem;
    assert_eq!(new(ca, Some((&certificate, &key))), Ok(()));
    for (wrong, says) in [
        (new("", None), "certificate of an authority"),
        (new("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None), "certificate"),
        (new(ca, Some(("", &key))), "certificate"),
        (new(ca, Some((&certificate, ""))), "private key"),
        (new(ca, Some((&certificate, &certificate))), "private key"),
        (new(ca, Some((&certificate, &other_key))), "key"),
        (new(ca, Some((&nobody, &nobodys_key))), "example.org"),
        (new(ca, Some((&other.0, &other.1))), "invalidsignature"),
        (new(ca, Some((&client.0, &client.1))), "requiredekunotfound"),
    ] {
        let said = wrong.expect_err("it is refused");
        assert!(said.to_lowercase().contains(says), "{said:?} does not say {says:?}");
    }
}

/// Sends `data` and receives the same, both at once.
async fn exchange(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    data: &[u8],
) {
    let send = async {
        writer.write_all(data).await.expect("written");
        writer.flush().await.expect("flushed");
    };
    let receive = async {
        let mut heard = vec![0; data.len()];
        reader.read_exact(&mut heard).await.expect("read");
        assert!(heard == data);
    };
    tokio::join!(receive, send);
}

#[tokio::test]
async fn many_bytes_cross_in_both_directions_at_once() {
    let authority = Authority::new();
    let server = authority.of(&SERVER);
    let (near, far) = duplex(1 << 16);
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8 ^ (i >> 11) as u8).collect();
    let serve = async {
        let (mut reader, mut writer) = tokio::io::split(server.accept(far));
        exchange(&mut reader, &mut writer, &data).await;
    };
    let ask = async {
        let stream = authority.anonymous().connect(near, PeerName::Node(NodeId(7))).await.expect("connected");
        let (mut reader, mut writer) = tokio::io::split(stream);
        exchange(&mut reader, &mut writer, &data).await;
    };
    tokio::join!(serve, ask);
}
