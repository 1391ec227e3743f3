//! A charge from its caller to the counters and back: what it means, who is called for it,
//! and what its refusal says.

use super::Severity;
use super::accounts::Standing;
use super::resource::Resource;
use crate::counters::{self, Account, Bound, Crossed, MOST, Owner, Refused};
use crate::error::{Error, Refusal, Result};
use crate::group::Group;

/// Several charges of one call, each resource once, none of nothing.
struct Charges {
    amounts: Vec<(Resource, u64)>,
    accounts: Vec<(Account, u64)>,
    /// What the quick way knows the first one by.
    key: u64,
}

/// Where a charge does not fit.
struct Full {
    level: Group,
    number: u64,
    resource: Resource,
    amount: u64,
}

impl Severity {
    fn bound(self) -> Bound {
        match self {
            Severity::Barrier => Bound::Barrier,
            Severity::Limit => Bound::Limit,
            Severity::Force => Bound::Never,
        }
    }
}

impl Group {
    /// The long way of one charge, kept apart from the quick one. It allocates nothing
    /// unless it is refused.
    #[cold]
    #[inline(never)]
    pub(super) fn charge_one(&self, resource: Resource, amount: u64, severity: Severity) -> Result<()> {
        let key = self.accounts().key(resource);
        if counters::charge_again(key, amount) {
            return Ok(());
        }
        if let Some(crossed) = counters::charge_known(key, amount, severity.bound()) {
            self.tell_of(&[(resource, amount)], &crossed);
            return Ok(());
        }
        self.backend()?;
        let amounts = [(resource, amount)];
        let (Some((account, standing)), 1..=MOST) = (self.accounts().known(resource), amount) else {
            return self.charge_all(&amounts, severity, Owner::Process);
        };
        let charges = [(account, amount)];
        let attempt = || standing.books.region.charge(key, &charges, severity.bound(), Owner::Process);
        self.charge_with(&amounts, severity, attempt)
    }

    /// The same for taking back.
    #[cold]
    #[inline(never)]
    pub(super) fn uncharge_one(&self, resource: Resource, amount: u64) -> Result<()> {
        let key = self.accounts().key(resource);
        if counters::uncharge_again(key, amount) || counters::uncharge_known(key, amount) {
            return Ok(());
        }
        self.backend()?;
        match (self.accounts().known(resource), amount) {
            (Some((account, standing)), 1..=MOST) => standing.books.region.uncharge(key, &[(account, amount)]),
            _ => self.uncharge_all(&[(resource, amount)]),
        }
    }

    pub(super) fn charge_all(&self, charges: &[(Resource, u64)], severity: Severity, owner: Owner) -> Result<()> {
        let Charges { amounts, accounts, key } = self.charges(charges)?;
        if accounts.is_empty() {
            return Ok(());
        }
        let region = self.standing()?.books.region;
        self.charge_with(&amounts, severity, || region.charge(key, &accounts, severity.bound(), owner))
    }

    pub(super) fn charge_what_fits(&self, resource: Resource, amount: u64, severity: Severity) -> Result<u64> {
        let charges = self.charges(&[(resource, amount)])?;
        let Some(&(account, _)) = charges.accounts.first() else { return Ok(0) };
        let region = self.standing()?.books.region;
        // Nothing fits where one does not, and that tells which level is full.
        let attempt = || match region.charge_up_to(account, amount, severity.bound())? {
            (0, _) => region.charge(0, &[(account, 1)], severity.bound(), Owner::Process).map(|crossed| (1, crossed)),
            some => Ok(some),
        };
        match self.with_one_retry(&charges.amounts, attempt)? {
            Ok((granted, crossed)) => {
                self.tell_of(&[(resource, granted)], &crossed);
                Ok(granted)
            }
            Err(full) => {
                self.count_refusal(&full);
                Ok(0)
            }
        }
    }

    pub(super) fn uncharge_all(&self, charges: &[(Resource, u64)]) -> Result<()> {
        let charges = self.charges(charges)?;
        if charges.accounts.is_empty() {
            return Ok(());
        }
        self.standing()?.books.region.uncharge(charges.key, &charges.accounts)
    }

    fn charge_with(
        &self,
        amounts: &[(Resource, u64)],
        severity: Severity,
        attempt: impl Fn() -> std::result::Result<Crossed, Refused>,
    ) -> Result<()> {
        match self.with_one_retry(amounts, attempt)? {
            Ok(crossed) => {
                self.tell_of(amounts, &crossed);
                Ok(())
            }
            Err(full) => Err(self.refuse(&full, severity)),
        }
    }

    /// EINVAL: an amount that no counter holds. ENOENT: no such resource. ECHILD.
    fn charges(&self, charges: &[(Resource, u64)]) -> Result<Charges> {
        self.backend()?;
        self.hierarchy().needs(super::NAME)?;
        let mut amounts: Vec<(Resource, u64)> = Vec::with_capacity(charges.len());
        for &(resource, amount) in charges.iter().filter(|(_, amount)| *amount != 0) {
            match amounts.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, sum)) => *sum = sum.saturating_add(amount),
                None => amounts.push((resource, amount)),
            }
        }
        if let Some((_, amount)) = amounts.iter().find(|(_, amount)| *amount > MOST) {
            return Err(Error::new(libc::EINVAL, format!("{amount} is more than a charge can be, {MOST}")));
        }
        let accounts = amounts.iter().map(|&(resource, amount)| Ok((self.account(resource)?, amount)));
        let key = amounts.first().map_or(0, |(resource, _)| self.accounts().key(*resource));
        Ok(Charges { accounts: accounts.collect::<Result<_>>()?, amounts, key })
    }

    /// Tries, and if it does not fit asks the program to free something and tries once more.
    fn with_one_retry<T>(
        &self,
        amounts: &[(Resource, u64)],
        attempt: impl Fn() -> std::result::Result<T, Refused>,
    ) -> Result<std::result::Result<T, Full>> {
        let full = match attempt() {
            Ok(done) => return Ok(Ok(done)),
            Err(refused) => self.full(amounts, refused)?,
        };
        if !self.hierarchy().ask_at_limit(&full.level, full.resource, full.amount) {
            return Ok(Err(full));
        }
        match attempt() {
            Ok(done) => Ok(Ok(done)),
            Err(refused) => self.full(amounts, refused).map(Err),
        }
    }

    #[cold]
    fn full(&self, amounts: &[(Resource, u64)], refused: Refused) -> Result<Full> {
        match refused {
            Refused::Full { which, group } => {
                let unknown = || Error::new(libc::EUCLEAN, "the counters refuse a charge that was not made");
                let &(resource, amount) = amounts.get(which).ok_or_else(unknown)?;
                Ok(Full { level: self.level(group)?, number: group, resource, amount })
            }
            Refused::Failed(error) => Err(error.context(self)),
        }
    }

    fn tell_of(&self, amounts: &[(Resource, u64)], crossed: &Crossed) {
        for &(which, number) in crossed {
            // A group above that went meanwhile has nobody to be told of it.
            if let (Some(&(resource, amount)), Ok(group)) = (amounts.get(which), self.level(number)) {
                self.hierarchy().tell_of_barrier(&group, resource, amount);
            }
        }
    }

    /// Counts the refusal at the level that refused, and says what it was.
    fn refuse(&self, full: &Full, severity: Severity) -> Error {
        self.count_refusal(full);
        let Full { level, resource, amount, .. } = full;
        let name = self.hierarchy().name_of(*resource);
        let errno = if *resource == Resource::NUMFILES { libc::EMFILE } else { libc::ENOMEM };
        let (held, which, bound) = match self.figures_of(full, severity) {
            Some(figures) => figures,
            // Raised or gone since.
            None => return Error::new(errno, format!("{level} had no room for {amount} more of {name}")),
        };
        let why = format!("{level} holds {held} of {name}, and {amount} more would pass its {which} of {bound}");
        let level = level.path().clone();
        Error::new(errno, why).with_refusal(Refusal { level, resource: name, amount: *amount, held, bound })
    }

    fn count_refusal(&self, full: &Full) {
        if let Ok(Standing { books, .. }) = self.standing()
            && let Ok(Some(account)) = books.region.find(full.number, full.resource.number())
        {
            // A group that went meanwhile has no count.
            let _ = books.region.count_failure(account);
        }
    }

    fn figures_of(&self, full: &Full, severity: Severity) -> Option<(u64, &'static str, u64)> {
        let region = self.standing().ok()?.books.region;
        let account = region.find(full.number, full.resource.number()).ok()??;
        let figures = *region.read(&[account]).ok()?.first()?;
        match (severity, figures.barrier) {
            (Severity::Barrier, Some(barrier)) => Some((figures.held, "barrier", barrier)),
            _ => Some((figures.held, "limit", figures.limit?)),
        }
    }
}
