//! Where tensors live and which kernels run on them.

use crate::backend::{Kernels, cpu::Cpu, reference::Reference};
use crate::memory::Memory;
use crate::profile::Profile;
use std::fmt;
use std::sync::Arc;

/// A place to compute: a set of kernels and the memory that they work on. Cloning it is cheap.
#[derive(Clone)]
pub struct Device {
    kernels: Arc<dyn Kernels>,
    memory: Arc<Memory>,
    profile: Option<Arc<Profile>>,
}

impl Device {
    /// The processor, with `n_threads` threads and the widest vector instructions it has.
    pub fn cpu(n_threads: usize) -> Self {
        Self::with(Arc::new(Cpu::new(n_threads)))
    }

    /// Plain loops: slow, obvious, and the specification of every other device.
    pub fn reference() -> Self {
        Self::with(Arc::new(Reference))
    }

    /// A device that runs the given kernels.
    pub fn with(kernels: Arc<dyn Kernels>) -> Self {
        Self { kernels, memory: Arc::new(Memory::default()), profile: None }
    }

    /// The same device, on which the time of every operation on a tape is noted.
    #[must_use]
    pub fn profiled(self) -> Self {
        Self { profile: Some(Arc::default()), ..self }
    }

    /// Where the time goes, on a device that notes it.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// The kernels.
    pub fn kernels(&self) -> &dyn Kernels {
        self.kernels.as_ref()
    }

    /// The memory pool.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kernels.name())
    }
}
