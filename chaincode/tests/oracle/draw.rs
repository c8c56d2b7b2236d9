//! States and requests from a seed: times at the edges of now, few ids, so that rules meet requests often.

use epione_chaincode::consent::{Basis, Grant, Revocation};
use epione_chaincode::identity::{Member, Organisation, Patient, Practitioner, Representation};
use epione_chaincode::records::Record;
use epione_chaincode::research::{Enrolment, Study};
use epione_chaincode::{Facts, Request};
use epione_types::call::{DataPeriod, Emergency, GrantKind, Grantee, Labels, Month, Person, Purposes, Rule};
use epione_types::codes::*;
use epione_types::id::{
    GrantId, LinkId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId, RepresentativeId, StudyId,
};
use epione_types::{Hash, PublicKey, TimestampMs};

pub(crate) const NOW: TimestampMs = TimestampMs(1_000);
const EDGES: [TimestampMs; 3] = [TimestampMs(999), NOW, TimestampMs(1_001)];
const HOSP_A: OrgId = OrgId([1; 16]);
const HOSP_B: OrgId = OrgId([2; 16]);
const DOCTOR: PractitionerId = PractitionerId([3; 16]);
const ANNA: PatientId = PatientId([4; 16]);
const MOTHER: RepresentativeId = RepresentativeId([5; 16]);
const RECORD: RecordId = RecordId([6; 16]);
const STUDY: StudyId = StudyId([7; 16]);
const LINK: LinkId = LinkId([8; 16]);

/// Splitmix64.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1))
    }
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }
    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 0
    }
    /// True once in `times`.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
    pub(crate) fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
    fn some<T: Copy + Ord>(&mut self, all: &[T], most: usize) -> Vec<T> {
        let mut list: Vec<T> = (0..self.below(most + 1)).map(|_| self.one(all)).collect();
        list.sort_unstable();
        list.dedup();
        list
    }
    fn edge(&mut self, times: usize) -> Option<TimestampMs> {
        self.rarely(times).then(|| self.one(&EDGES))
    }
    fn month(&mut self) -> Month {
        Month::new(2026, 1 + self.below(4) as u32).unwrap()
    }

    fn rule(&mut self) -> Rule {
        let roles = [Role::Physician, Role::Nurse, Role::Billing, Role::Researcher, Role::Registrar];
        let to = match self.below(10) {
            0 | 1 => Grantee::Any,
            2 => Grantee::Org(HOSP_A),
            3 | 4 => Grantee::Org(HOSP_B),
            5 => Grantee::Role(HOSP_B, self.one(&roles)),
            6 => Grantee::Person(Person::Practitioner(self.one(&[HOSP_A, HOSP_B]), DOCTOR)),
            7 => Grantee::Person(Person::Representative(MOTHER)),
            8 => Grantee::Study(STUDY),
            _ => Grantee::Guest(LINK),
        };
        let roots = [
            Purpose::Treat,
            Purpose::Etreat,
            Purpose::Btg,
            Purpose::Hpaymt,
            Purpose::Hoperat,
            Purpose::Fraud,
            Purpose::Hresch,
            Purpose::PatRqt,
        ];
        let purposes = match self.below(8) {
            0 => Purposes::All,
            1 | 2 => Purposes::Only(self.some(Purpose::ALL, 3)),
            _ => Purposes::Only(self.some(&roots, 4)),
        };
        Rule {
            kind: self.one(&[GrantKind::Permit, GrantKind::Permit, GrantKind::Deny]),
            to,
            purposes,
            actions: if self.rarely(4) { self.some(Action::ALL, 2) } else { Action::ALL.to_vec() },
            categories: if self.rarely(4) { self.some(&CATEGORIES, 3) } else { vec![] },
            records: if self.rarely(4) { self.some(&[RECORD, RecordId([9; 16])], 2) } else { vec![] },
            labels: match self.below(6) {
                0 => Labels::Any,
                1..4 => Labels::Only(self.some(Label::ALL, 6)),
                _ => Labels::Only(vec![]),
            },
            data_period: self.rarely(6).then(|| DataPeriod {
                from: self.flag().then(|| self.month()),
                until: self.flag().then(|| self.month()),
            }),
            from: self.edge(6),
            until: self.edge(6),
            max_uses: self.rarely(5).then_some(1),
            delegable: self.flag(),
            parent: self.rarely(6).then(|| GrantId([self.below(6) as u8; 16])),
            policy: None,
            document: None,
        }
    }

    pub(crate) fn grant(&mut self, id: u8) -> Grant {
        let revoked = self.edge(7).map(|at| Revocation { at, basis: Basis::OwnKey });
        let uses = self.below(2) as u32;
        let rule = self.rule();
        let created_at = TimestampMs(0);
        Grant { id: GrantId([id; 16]), rule, basis: Basis::OwnKey, created_at, revoked, uses }
    }

    fn record(&mut self) -> Record {
        let usual = RecordStatus::Active;
        let other = [RecordStatus::Draft, RecordStatus::EnteredInError, RecordStatus::Erased];
        let often = [Label::Hiv, Label::Sud, Label::OpioidUd, Label::Cogn, Label::PsyThPn, Label::Part2];
        Record {
            id: RECORD,
            patient: ANNA,
            custodian: self.one(&[HOSP_A, HOSP_B]),
            author: self.one(&[DOCTOR, PractitionerId([10; 16])]),
            role: Role::Physician,
            status: if self.rarely(6) { self.one(&other) } else { usual },
            version: 1,
            category: self.one(&CATEGORIES),
            labels: match self.below(6) {
                0..3 => vec![],
                3 => self.some(Label::ALL, 2), // each of the minor's own, too
                _ => self.some(&often, 3),
            },
            service_month: self.month(),
            minor_consented: self.rarely(4),
            commitment: Hash([1; 32]),
            ciphertext_hash: Hash([2; 32]),
            size_class: 12,
            pointer: OpaqueRef([11; 16]),
            registered_at: TimestampMs(0),
        }
    }

    fn request(&mut self) -> Request {
        let hospital = self.one(&[HOSP_A, HOSP_B]);
        let (who, role) = match self.below(16) {
            0 => (Member::Patient(ANNA), Role::Patient),
            1 => (Member::Patient(PatientId([12; 16])), Role::Patient),
            2 | 3 => (Member::Representative(MOTHER), Role::Representative),
            4 => (Member::Guest(LINK), Role::Guest),
            5 => (Member::Admin(hospital), self.one(Role::ALL)),
            6 => (Member::Practitioner(hospital, DOCTOR), self.one(Role::ALL)),
            7 | 8 => (Member::Practitioner(hospital, DOCTOR), Role::Researcher),
            9 => (Member::Practitioner(hospital, DOCTOR), Role::PublicHealth),
            10 => (Member::Practitioner(hospital, DOCTOR), self.one(&[Role::Billing, Role::InsurerReviewer])),
            11 => (Member::Practitioner(hospital, DOCTOR), self.one(&[Role::Registrar, Role::Auditor])),
            _ => (Member::Practitioner(hospital, DOCTOR), self.one(&[Role::Physician, Role::Nurse])),
        };
        let served: &[Purpose] = match role {
            Role::Physician | Role::Nurse | Role::Pharmacist | Role::Lab => {
                &[Purpose::Treat, Purpose::Coc, Purpose::Etreat, Purpose::Btg, Purpose::Btg]
            }
            Role::Billing => &[Purpose::Hpaymt, Purpose::ClmAttch],
            Role::InsurerReviewer => &[Purpose::Hpaymt, Purpose::Fraud],
            Role::Registrar | Role::PrivacyOfficer => &[Purpose::Hoperat, Purpose::PatAdmin],
            Role::Auditor => &[Purpose::Hoperat, Purpose::Fraud],
            Role::Researcher => &[Purpose::Hresch, Purpose::ClinTrch],
            Role::PublicHealth => &[Purpose::PubHlth, Purpose::Disaster],
            Role::Patient | Role::Representative | Role::Guest => &[Purpose::PatRqt, Purpose::FamRqt],
        };
        let purpose = if self.rarely(12) { self.one(Purpose::ALL) } else { self.one(served) };
        let action = if self.rarely(4) { self.one(Action::ALL) } else { Action::Read };
        let text_commitment = (!self.rarely(4)).then_some(Hash([3; 32]));
        let emergency = Emergency { reason: self.one(EmergencyReason::ALL), text_commitment };
        Request {
            study: (!self.rarely(6)).then_some(STUDY),
            link: (!self.rarely(6)).then_some(LINK),
            mandate: self.flag().then_some(OpaqueRef([13; 16])),
            emergency: (!self.rarely(4)).then_some(emergency),
            ..Request::new(who, role, action, purpose)
        }
    }

    pub(crate) fn situation(&mut self) -> (Facts, Request) {
        let request = self.request();
        let practises = matches!(request.who, Member::Practitioner(..));
        let rules: Vec<Grant> = (0..self.below(9)).map(|id| self.grant(id as u8)).collect();
        let organisation = Organisation {
            kind: if self.rarely(3) { OrganisationKind::Hospital } else { OrganisationKind::PublicHealth },
            status: if self.rarely(15) { OrganisationStatus::Suspended } else { OrganisationStatus::Active },
            admins: vec![],
            admin_threshold: 1,
            break_glass: !self.rarely(6),
            registered_at: TimestampMs(0),
        };
        let practitioner = Practitioner {
            key: PublicKey([1; 32]),
            roles: if self.rarely(12) { vec![Role::Nurse] } else { Role::ALL.to_vec() },
            capabilities: if self.rarely(6) { vec![] } else { vec![Capability::BreakGlass] },
            credential_until: self.edge(8),
            status: if self.rarely(15) { PractitionerStatus::Suspended } else { PractitionerStatus::Active },
            identity_commitment: Hash([4; 32]),
            registered_at: TimestampMs(0),
        };
        let representation = Representation {
            kind: self.one(&[RepresentationKind::Parent, RepresentationKind::Guardian]),
            from: self.edge(8).unwrap_or(TimestampMs(0)),
            until: self.edge(6),
            minor_privacy_from: self.edge(2),
            categories: if self.rarely(4) { self.some(&CATEGORIES, 2) } else { vec![] },
            revoked_at: self.edge(8),
            evidence: Hash([5; 32]),
            organisation: HOSP_A,
        };
        let patient = Patient {
            key: None,
            care_organisations: self.some(&[HOSP_A, HOSP_B], 2),
            status: if self.rarely(8) { PatientStatus::Deceased } else { PatientStatus::Active },
            notice_hash: Hash([6; 32]),
            grants: rules.len() as u32,
            registered_at: TimestampMs(0),
        };
        let study = Study {
            status: if self.rarely(8) { StudyStatus::Suspended } else { StudyStatus::Approved },
            approved_until: self.edge(8).unwrap_or(TimestampMs(9_999)),
            // The doctor has a namesake in the other hospital.
            team: match self.below(6) {
                0 => vec![],
                1 => vec![(HOSP_A, DOCTOR)],
                _ => vec![(HOSP_A, DOCTOR), (HOSP_B, DOCTOR)],
            },
        };
        let status = if self.rarely(6) { EnrolmentStatus::Withdrawn } else { EnrolmentStatus::Active };
        let facts = Facts {
            record: (!self.rarely(40)).then(|| self.record()),
            patient: (!self.rarely(80)).then_some(patient),
            organisation: (practises && !self.rarely(60)).then_some(organisation),
            practitioner: (practises && !self.rarely(60)).then_some(practitioner),
            representation: (!self.rarely(8)).then_some(representation),
            rules,
            study: (!self.rarely(15)).then_some(study),
            enrolment: (!self.rarely(15)).then_some(Enrolment { status }),
            override_until: self.edge(4),
            reviews_overdue: self.rarely(6),
        };
        (facts, request)
    }
}

const CATEGORIES: [Category; 8] = [
    Category::Lab,
    Category::Billing,
    Category::Encounter,
    Category::Demographics,
    Category::Diagnosis,
    Category::Immunization,
    Category::ClinicalNote,
    Category::PsychotherapyNote,
];
