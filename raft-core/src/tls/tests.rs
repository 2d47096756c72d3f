use alloc::string::ToString;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::time_provider::DefaultTimeProvider;

use super::*;

const CLUSTER: ClusterId = ClusterId(0xab);

struct Authority(Issuer<'static, KeyPair>, Vec<u8>);

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority(Issuer::new(params, key), certificate.pem().into_bytes())
}

impl Authority {
    fn sign(&self, name: &str) -> Pem {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_string()]).unwrap().signed_by(&key, &self.0).unwrap();
        Pem {
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: self.1.clone(),
        }
    }
}

fn identity(pem: &Pem) -> Result<TlsIdentity, TlsError> {
    TlsIdentity::new(pem, Arc::new(DefaultTimeProvider))
}

#[test]
fn a_certificate_is_bound_to_a_node_of_a_cluster() {
    let name = node_name(CLUSTER, NodeId(7));
    assert_eq!(name, "node-7.000000000000000000000000000000ab.raft");
    let pem = authority().sign(&name);
    let identity = identity(&pem).unwrap();
    assert_eq!(identity.check_own(CLUSTER, NodeId(7)), Ok(()));
    for (cluster, node) in [(CLUSTER, NodeId(8)), (ClusterId(1), NodeId(7))] {
        let error = identity.check_own(cluster, node).unwrap_err();
        assert!(
            matches!(&error, TlsError::NotOurs { found, .. } if found == &[Arc::from(&*name)]),
            "{error}"
        );
    }
    let shown = [identity.with(|configs| configs.own.clone())];
    assert_eq!(TlsIdentity::check_peer(Some(&shown), CLUSTER, NodeId(7)), Ok(()));
    let refused = Err(Refusal::NotCertified { claimed: NodeId(8) });
    assert_eq!(TlsIdentity::check_peer(Some(&shown), CLUSTER, NodeId(8)), refused);
    assert_eq!(TlsIdentity::check_peer(None, CLUSTER, NodeId(8)), refused);
    let rubbish = [CertificateDer::from(alloc::vec![1, 2, 3])];
    assert_eq!(TlsIdentity::check_peer(Some(&rubbish), CLUSTER, NodeId(8)), refused);
    assert!(TlsIdentity::server_name(CLUSTER, NodeId(u64::MAX)).is_ok());
}

#[test]
fn what_cannot_be_used_is_told() {
    let (ca, other) = (authority(), authority());
    let good = ca.sign("a");
    assert!(identity(&good).is_ok());
    let empty = identity(&Pem { chain: Vec::new(), ..good.clone() }).unwrap_err();
    assert_eq!(empty, TlsError::Empty { what: "the certificate" });
    let empty = identity(&Pem { key: b"nothing".to_vec(), ..good.clone() }).unwrap_err();
    assert_eq!(empty, TlsError::Empty { what: "the key" });
    let damaged = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".to_vec();
    let damaged = identity(&Pem { ca: damaged, ..good.clone() }).unwrap_err();
    assert!(matches!(damaged, TlsError::Pem { what: "the certificate of the CA", .. }), "{damaged}");
    let swapped = identity(&Pem { key: other.sign("a").key, ..good }).unwrap_err();
    assert!(matches!(swapped, TlsError::Unusable(_)), "{swapped}");
}

#[test]
fn a_reload_counts_for_what_comes_after_and_a_failed_one_for_nothing() {
    let ca = authority();
    let identity = identity(&ca.sign("first")).unwrap();
    let (before, clone) = (identity.server(), identity.clone());
    let bad = Pem { chain: Vec::new(), ..ca.sign("second") };
    assert!(identity.reload(&bad).is_err());
    assert!(Arc::ptr_eq(&before, &clone.server()));
    identity.reload(&ca.sign("second")).unwrap();
    assert!(!Arc::ptr_eq(&before, &clone.server()));
    assert_eq!(clone.with(|configs| names_of(&configs.own)), ["second"]);
}

#[test]
fn a_key_is_never_printed() {
    let pem = authority().sign("a");
    let text = alloc::format!("{pem:?} {:?}", identity(&pem).unwrap());
    assert_eq!(text, "Pem TlsIdentity");
}
