//! Names whose call would act on the machine: run code or commands, open files or connections, import modules. A file
//! of data has no use for them, so a call of one is an error that names it. Nothing is executed in any case; the error
//! shows that the file is hostile, before it is loaded somewhere else.

use super::value::Global;

/// Modules all of whose names count as acting, and the modules below them.
const PACKAGES: &str = "
    os posix nt subprocess sys multiprocessing pty popen2 signal _signal _winapi _posixsubprocess winreg msvcrt fcntl
    mmap _thread concurrent asyncio sched atexit
    shutil tempfile fileinput zipfile tarfile zipapp shelve dbm sqlite3 linecache
    socket _socket ssl http httplib urllib urllib2 urllib3 requests aiohttp httpx ftplib smtplib imaplib poplib nntplib
    telnetlib xmlrpc socketserver webbrowser antigravity paramiko websocket websockets wsgiref huggingface_hub fsspec
    importlib imp pkgutil zipimport runpy marshal pickle _pickle cPickle dill cloudpickle joblib jsonpickle codeop pdb
    bdb cProfile doctest ctypes _ctypes cffi gc pydoc idlelib lib2to3 ensurepip pip setuptools distutils pkg_resources
    venv rlcompleter readline tkinter turtle faulthandler _xxsubinterpreters _interpreters IPython pexpect sh yaml
    test.support unittest.mock logging.config logging.handlers hydra.utils hydra._internal PIL.ImageMath pandas.io
    numpy.testing numpy.distutils numpy.f2py numpy.lib.npyio numpy.lib._npyio_impl
    torch.hub torch.jit torch.package torch.serialization torch.fx.graph_module torch.export torch.onnx
    torch.multiprocessing torch.distributed.rpc torch.distributed.elastic torch.distributed.run
    torch.distributed.launch torch._inductor torch._dynamo torch._ops torch.ops torch.utils.cpp_extension
    torch.utils.model_zoo torch.utils.bottleneck torch.utils.hipify torch.utils.collect_env
    torch.utils._config_module torch.testing torch.library";

/// Modules like these, but without the modules below them: projects have folders of these names.
const FILES: &str = "code commands platform profile trace timeit resource select selectors site io _io codecs threading
    getpass test cgi ntpath posixpath genericpath macpath nturl2path";

/// Modules in which only these names are plain.
const PLAIN_IN: &[(&str, &str)] = &[
    (
        "builtins",
        "NoneType Ellipsis NotImplemented bool bytearray bytes complex dict ellipsis enumerate float frozenset int list
         long memoryview object range reversed set slice str tuple type unicode xrange zip",
    ),
    ("types", "SimpleNamespace MappingProxyType NoneType EllipsisType GenericAlias UnionType"),
    ("copyreg", "__newobj__ __newobj_ex__ _reconstructor"),
    ("operator", "getitem itemgetter or_ and_ add sub mul truediv lt gt le ge eq"),
    ("uuid", "UUID SafeUUID"),
    ("io", "BytesIO StringIO"),
    ("_io", "BytesIO StringIO"),
    ("signal", "Signals Handlers Sigmasks"),
    ("torch.serialization", "_get_layout"),
];

/// Other names of these modules, in Python 2 and in C.
const ALIASES: &[(&str, &str)] = &[("__builtin__", "builtins"), ("copy_reg", "copyreg"), ("_operator", "operator")];

/// Functions that act in any module.
const VERBS: &str = "__import__ attrgetter check_call check_output delattr eval exec exec_module execfile execv execve
    fromfile getattr getoutput getstatusoutput import_module load load_module loads memmap methodcaller open popen Popen
    read_pickle run_command runstring save savetxt setattr system unsafe_load _import_dotted_name _load_from_bytes
    genfromtxt loadtxt reduce_graph_module FileHandler";

/// True if a call of this name would act on the machine, or lead to a name that does.
pub(super) fn acts(callable: &Global) -> bool {
    let (module, name) = (&*callable.module, &*callable.name);
    let module = ALIASES.iter().find(|(alias, _)| *alias == module).map_or(module, |(_, module)| module);
    if let Some((_, plain)) = PLAIN_IN.iter().find(|(of, _)| *of == module) {
        let is_exception = ["Error", "Exception", "Warning"].iter().any(|end| name.ends_with(end));
        return !(lists(plain, name) || module == "builtins" && is_exception);
    }
    let is_in =
        |package| module.strip_prefix(package).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('.'));
    PACKAGES.split_whitespace().any(is_in)
        || lists(FILES, module)
        || lists(VERBS, name.rsplit('.').next().unwrap_or_default())
        || name.split('.').any(leads_elsewhere)
}

/// True for the name of an attribute that leads to nothing but data.
pub(super) fn is_plain_attribute(name: &str) -> bool {
    let is_identifier = name.chars().all(|letter| letter == '_' || letter.is_alphanumeric());
    is_identifier && !name.is_empty() && !leads_elsewhere(name) && !lists(VERBS, name)
}

/// True for a part of a dotted name that leads out of its module: to a module that acts, or to one of Python's own
/// attributes such as `__globals__`.
fn leads_elsewhere(part: &str) -> bool {
    let is_internal = part.len() > 4 && part.starts_with("__") && part.ends_with("__");
    is_internal || part == "builtins" || lists(PACKAGES, part)
}

fn lists(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "module name".
    fn global(text: &str) -> Global {
        let (module, name) = text.split_once(' ').unwrap();
        Global { module: module.into(), name: name.into() }
    }

    #[test]
    fn names_that_act_are_told_from_names_of_data() {
        let acting = "os system/posix system/nt system/os.path join/subprocess Popen/subprocess call/builtins eval/\
            __builtin__ eval/builtins exec/builtins getattr/builtins __import__/builtins open/builtins compile/\
            builtins map/builtins print/builtins setattr/sys exit/importlib import_module/importlib.util find_spec/\
            shutil rmtree/socket create_connection/pty spawn/webbrowser open/runpy run_path/pickle loads/_pickle load/\
            dill loads/torch load/torch.hub load/torch.serialization load/torch.storage _load_from_bytes/\
            torch._utils _import_dotted_name/ctypes CDLL/operator attrgetter/_operator methodcaller/\
            code InteractiveInterpreter/pip main/pip._internal main/types FunctionType/types CodeType/\
            copyreg add_extension/numpy load/numpy.testing._private.utils runstring/timeit timeit/cProfile run/\
            pdb run/bdb Bdb/asyncio.unix_events _UnixSubprocessTransport/requests.api get/urllib.request urlopen/\
            http.client HTTPSConnection/marshal loads/torch.fx.graph_module reduce_graph_module/torch.jit load/\
            uuid _get_command_stdout/io FileIO/torch.serialization os.system/torch.utils.data os.system/\
            mylib sys.modules/any eval/collections OrderedDict.__init__.__globals__/__main__ Net.__subclasses__/\
            joblib load/cloudpickle.cloudpickle _make_function/logging.config listen/logging FileHandler/\
            yaml unsafe_load/platform popen/profile run/trace Trace";
        for name in acting.split('/') {
            assert!(acts(&global(name)), "{name}");
        }
        let plain = "collections Counter/collections deque/functools partial/datetime datetime/decimal Decimal/\
            uuid UUID/builtins complex/builtins range/builtins ValueError/torch.torch_version TorchVersion/\
            torch.nn.modules.loss CrossEntropyLoss/torch.optim.adam Adam/numpy.random._pickle __generator_ctor/\
            numpy._core.multiarray scalar/__main__ Net/__main__ Config.Mode/easydict EasyDict/argparse Namespace/\
            types SimpleNamespace/lightning.pytorch.callbacks.early_stopping EarlyStopping/enum Enum/\
            torchmetrics.classification.accuracy Accuracy/omegaconf.dictconfig DictConfig/re _compile/\
            code.models Net/platform.config Mode/test.models Net/operator getitem/copyreg _reconstructor/\
            copy_reg _reconstructor/fractions Fraction/pathlib PosixPath/torchvision.transforms.transforms Compose/\
            signal Signals/torch.serialization _get_layout/torch._C._nn gelu/logging getLogger";
        for name in plain.split('/') {
            assert!(!acts(&global(name)), "{name}");
        }
    }
}
