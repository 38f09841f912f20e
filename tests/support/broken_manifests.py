"""Broken Kubernetes objects and the problems that the checks have to report for them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from scripts.manifests.objects import External, Manifest, Objects

GOOD = list(yaml.safe_load_all((Path(__file__).parent / 'manifests.yaml').read_text()))
EXTERNAL = (
    External('PersistentVolumeClaim', 'models', 'the models'),
    External('Secret', 'token', 'of the shop', ('token',)),
)
REMOVE = object()
POD = 'spec.template.spec'
SERVER = f'{POD}.containers[server]'
JOB_POD = 'spec.jobTemplate.spec.template.spec'
CONTAINER = (*POD.split('.'), 'containers', 0)
ARGS = (*CONTAINER, 'args')

Change = tuple[str, tuple[Any, ...], Any]


def change(kind: str, path: str | tuple[Any, ...], value: Any) -> Change:
    """Sets a value in the object of a kind.

    Args:
      kind: of the object.
      path: of the value; a number is an index of a list.
      value: the new value; REMOVE deletes the old one.
    """
    return kind, tuple(path.split('.')) if isinstance(path, str) else path, value


def at_container(path: str, value: Any) -> Change:
    return change('Deployment', (*CONTAINER, *path.split('.')), value)


def more(document: str) -> Change:
    """Adds an object."""
    return '', (), yaml.safe_load(document)


def changed(*changes: Change) -> Objects:
    """Applies changes to the good objects."""
    documents = copy.deepcopy(GOOD)
    for kind, path, value in changes:
        if not kind:
            documents.append(value)
            continue
        parent = next(document for document in documents if document['kind'] == kind)
        for key in path[:-1]:
            parent = parent.setdefault(key, {}) if isinstance(parent, dict) else parent[key]
        if value is REMOVE:
            del parent[path[-1]]
        elif isinstance(parent, list) and path[-1] == len(parent):
            parent.append(value)
        else:
            parent[path[-1]] = value
    return Objects(
        [
            Manifest(document, f'kubeflow/manifests/{document["kind"]}.yaml')
            for document in documents
        ],
        EXTERNAL,
    )


def models(text: str) -> Change:
    return change('ConfigMap', ('data', 'models.config'), text)


MODEL = 'model_config_list { config { name: "triage" base_path: "/models/triage" %s } }'
SPECIFIC = 'model_version_policy { specific { versions: 5 } }'


def ingress(service: str, port: str, annotations: str = '') -> Change:
    return more(
        '{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: door, namespace: shop, '
        f'annotations: {{{annotations}}}}}, spec: {{rules: [{{host: shop.example, http: {{paths: ['
        f'{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{name: '
        f'{port}}}}}}}}}]}}}}]}}}}'
    )


_GOOGLE = (
    'networking.gke.io/managed-certificates: door, networking.gke.io/v1beta1.FrontendConfig: door'
)
# What an ingress and a service of Google's load balancer name.
_FRONTEND = more(
    '{apiVersion: networking.gke.io/v1beta1, kind: FrontendConfig, metadata: {name: door, '
    'namespace: shop}, spec: {}}'
)
_CERTIFICATE = more(
    '{apiVersion: networking.gke.io/v1, kind: ManagedCertificate, metadata: {name: door, '
    'namespace: shop}, spec: {domains: [shop.example]}}'
)


def backend(port: int, path: str) -> list[Change]:
    return [
        change(
            'Service',
            ('metadata', 'annotations'),
            {'cloud.google.com/backend-config': '{"default": "door"}'},
        ),
        more(
            '{apiVersion: cloud.google.com/v1, kind: BackendConfig, metadata: {name: door, '
            f'namespace: shop}}, spec: {{healthCheck: {{port: {port}, requestPath: {path}}}}}}}'
        ),
    ]


# Changes, and the problems that they cause: field -> pattern of the message.
BROKEN: dict[str, tuple[list[Change], dict[str, str]]] = {
    'an object in no namespace': (
        [change('Service', 'metadata.namespace', REMOVE)],
        {'metadata.namespace': r'missing.*shop', 'spec.selector': 'matches no pod'},
    ),
    'a namespace that is not restricted': (
        [change('Namespace', 'metadata.labels', {})],
        {'metadata.labels[pod-security.kubernetes.io/enforce]': 'expected restricted'},
    ),
    'a selector that does not match the template': (
        [change('Deployment', 'spec.selector.matchLabels.app', 'other')],
        {'spec.selector': 'app=other.*app=server, part=shop'},
    ),
    'topology spread constraints for other pods': (
        [
            change(
                'Deployment',
                f'{POD}.topologySpreadConstraints',
                [
                    {
                        'maxSkew': 1,
                        'topologyKey': 'zone',
                        'whenUnsatisfiable': 'ScheduleAnyway',
                        'labelSelector': {'matchLabels': {'app': 'web'}},
                    }
                ],
            )
        ],
        {
            f'{POD}.topologySpreadConstraints[0].labelSelector': (
                r'app=web: does not match these pods \(app=server'
            )
        },
    ),
    'a service without pods': (
        [change('Service', 'spec.selector.app', 'serve')],
        {
            'spec.selector': (
                r"app=serve: matches no pod in namespace 'shop'.*Deployment server: "
                r'app=server'
            )
        },
    ),
    'a service port with an unknown name': (
        [change('Service', ('spec', 'ports', 0, 'targetPort'), 'web')],
        {'spec.ports[http].targetPort': r'exposes web/TCP: expected one of .*8501/TCP \(http\)'},
    ),
    'a service port with an unknown number': (
        [change('Service', ('spec', 'ports', 1, 'port'), 8600)],
        {'spec.ports[grpc].targetPort': '8600/TCP'},
    ),
    'a service port with another protocol': (
        [change('Service', ('spec', 'ports', 0, 'protocol'), 'UDP')],
        {'spec.ports[http].targetPort': 'http/UDP'},
    ),
    'an ingress to a missing service': (
        [ingress('serve', 'http')],
        {'spec.rules[shop.example].paths[/].backend': 'serve: no such service: .*server'},
    ),
    'an ingress to a port that the service lacks': (
        [ingress('server', 'web')],
        {'spec.rules[shop.example].paths[/].backend': 'web: expected a port of it: .*http'},
    ),
    "objects of Google's load balancer that are missing": (
        [ingress('server', 'http', _GOOGLE)],
        {
            'metadata.annotations[networking.gke.io/managed-certificates]': (
                'ManagedCertificate door does not exist'
            ),
            'metadata.annotations[networking.gke.io/v1beta1.FrontendConfig]': (
                'FrontendConfig door does not exist'
            ),
        },
    ),
    "objects of Google's load balancer that nothing names": (
        [_FRONTEND, _CERTIFICATE],
        {'metadata.name': 'no annotation of an ingress or service names it'},
    ),
    'a certificate for another host': (
        [
            ingress('server', 'http', _GOOGLE),
            _FRONTEND,
            _CERTIFICATE,
            change('ManagedCertificate', ('spec', 'domains', 0), 'web.example'),
        ],
        {'spec.domains': 'shop.example is missing: the ingress door has it'},
    ),
    'a load balancer that checks another port and path than the probes': (
        backend(9000, '/ready'),
        {
            'spec.healthCheck.port': '9000: no container',
            'spec.healthCheck.requestPath': '/ready: expected the path of the readiness probe',
        },
    ),
    'an autoscaler of a missing deployment': (
        [change('HorizontalPodAutoscaler', 'spec.scaleTargetRef.name', 'serving')],
        {
            'spec.scaleTargetRef': (
                r'Deployment serving.*does not exist.*Deployment server \(apps/v1\)'
            )
        },
    ),
    'a budget without pods': (
        [change('PodDisruptionBudget', 'spec.selector.matchLabels.app', 'serving')],
        {'spec.selector': 'matches no pod'},
    ),
    'a budget without a selector': (
        [change('PodDisruptionBudget', 'spec.selector', REMOVE)],
        {'spec.selector': 'is empty: matches no pod'},
    ),
    'two budgets for the same pods': (
        [
            more(
                '{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: second, '
                'namespace: shop}, '
                'spec: {maxUnavailable: 1, selector: {matchExpressions: [{key: app, operator: In, '
                'values: [server]}]}}}'
            )
        ],
        {'spec.selector': 'already has the budget server'},
    ),
    'a network policy without pods': (
        [
            more(
                '{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: second, '
                'namespace: shop}, '
                'spec: {podSelector: {matchLabels: {app: nobody}}, policyTypes: [Ingress]}}'
            )
        ],
        {'spec.podSelector': 'app=nobody: matches no pod'},
    ),
    'a network policy for a port with an unknown name': (
        [change('NetworkPolicy', ('spec', 'ingress', 0, 'ports', 0, 'port'), 'rest')],
        {'spec.ingress[0].ports[rest]': 'exposes rest/TCP'},
    ),
    'a network policy for a port with an unknown number': (
        [change('NetworkPolicy', ('spec', 'ingress', 0, 'ports', 1, 'port'), 9000)],
        {'spec.ingress[0].ports[9000]': 'exposes 9000/TCP'},
    ),
    'rules of a type that the network policy does not list': (
        [change('NetworkPolicy', 'spec.policyTypes', ['Ingress'])],
        {
            'spec.egress': 'lacks Egress',
            'spec.template.metadata.labels': 'covers the egress',
            'spec.jobTemplate.spec.template.metadata.labels': 'covers the egress',
        },
    ),
    'pods that no network policy covers': (
        [change('Deployment', 'spec.template.metadata.labels.part', 'another')],
        {
            'spec.template.metadata.labels': r'covers the (in|e)gress',
            # The policy still covers the job, which has no ports.
            'spec.ingress[0].ports[http]': 'CronJob nightly exposes http/TCP',
            'spec.ingress[0].ports[8500]': 'CronJob nightly exposes 8500/TCP',
        },
    ),
    'a monitor without pods': (
        [change('PodMonitoring', 'spec.selector.matchLabels.app', 'serve')],
        {'spec.selector': 'matches no pod'},
    ),
    'a monitor of an unknown port': (
        [change('PodMonitoring', ('spec', 'endpoints', 0, 'port'), 'metrics')],
        {'spec.endpoints[0].port': 'exposes metrics/TCP'},
    ),
    'no service account': (
        [change('Deployment', f'{POD}.serviceAccountName', REMOVE)],
        {f'{POD}.serviceAccountName': 'is None: expected its own service account'},
    ),
    'a missing service account': (
        [change('Deployment', f'{POD}.serviceAccountName', 'sever')],
        {
            f'{POD}.serviceAccountName': (
                r'ServiceAccount sever does not exist: expected one of server; define it, '
                r'or list'
            )
        },
    ),
    'a missing config map': (
        [
            change(
                'CronJob',
                (
                    *JOB_POD.split('.'),
                    'containers',
                    0,
                    'env',
                    0,
                    'valueFrom',
                    'configMapKeyRef',
                    'name',
                ),
                'setting',
            )
        ],
        {
            f'{JOB_POD}.containers[job].env[WHEN]': (
                'ConfigMap setting does not exist: expected one of settings'
            )
        },
    ),
    'a missing key in a config map': (
        [
            change(
                'CronJob',
                (
                    *JOB_POD.split('.'),
                    'containers',
                    0,
                    'env',
                    0,
                    'valueFrom',
                    'configMapKeyRef',
                    'key',
                ),
                'hour',
            )
        ],
        {
            f'{JOB_POD}.containers[job].env[WHEN]': (
                'ConfigMap settings has no key hour: expected one of models.config, '
                'monitoring.config, s'
            )
        },
    ),
    'a missing secret': (
        [
            change(
                'CronJob',
                (
                    *JOB_POD.split('.'),
                    'containers',
                    0,
                    'env',
                    1,
                    'valueFrom',
                    'secretKeyRef',
                    'name',
                ),
                'tokens',
            )
        ],
        {f'{JOB_POD}.containers[job].env[TOKEN]': 'Secret tokens does not exist'},
    ),
    'a missing key in an external secret': (
        [
            change(
                'CronJob',
                (
                    *JOB_POD.split('.'),
                    'containers',
                    0,
                    'env',
                    1,
                    'valueFrom',
                    'secretKeyRef',
                    'key',
                ),
                'key',
            )
        ],
        {
            f'{JOB_POD}.containers[job].env[TOKEN]': (
                'Secret token has no key key: expected one of token'
            )
        },
    ),
    'a missing claim': (
        [
            change(
                'Deployment',
                (*POD.split('.'), 'volumes', 1, 'persistentVolumeClaim', 'claimName'),
                'model',
            )
        ],
        {f'{POD}.volumes[models]': 'PersistentVolumeClaim model does not exist'},
    ),
    'an unused config map': (
        [more('{apiVersion: v1, kind: ConfigMap, metadata: {name: forgotten, namespace: shop}}')],
        {'metadata.name': r'no pod refers to it \(pods refer to settings\)'},
    ),
    'an unused volume': (
        [change('Deployment', (*POD.split('.'), 'volumes', 2), {'name': 'spare', 'emptyDir': {}})],
        {f'{POD}.volumes[spare]': 'no container mounts it'},
    ),
    'a mount without a volume': (
        [
            change(
                'Deployment', (*CONTAINER, 'volumeMounts', 2), {'name': 'tmp', 'mountPath': '/tmp'}
            )
        ],
        {f'{SERVER}.volumeMounts[tmp]': 'no such volume: expected one of models, settings'},
    ),
    'two volumes with the same name': (
        [change('Deployment', (*POD.split('.'), 'volumes', 2), {'name': 'models', 'emptyDir': {}})],
        {f'{POD}.volumes[models]': '2 volumes have this name'},
    ),
    'two volumes at one path': (
        [
            change(
                'Deployment',
                (*CONTAINER, 'volumeMounts', 2),
                {'name': 'tmp', 'mountPath': '/models/'},
            ),
            change('Deployment', (*POD.split('.'), 'volumes', 2), {'name': 'tmp', 'emptyDir': {}}),
        ],
        {f'{SERVER}.volumeMounts[/models]': '2 volumes are mounted here'},
    ),
    'an argument with an unknown variable': (
        [change('CronJob', (*JOB_POD.split('.'), 'containers', 0, 'args', 1), '--when=$(HOUR)')],
        {f'{JOB_POD}.containers[job].args': r'no variable HOUR: expected one of TOKEN, WHEN'},
    ),
    'an image without a tag': (
        [at_container('image', 'example.org:5000/serving')],
        {f'{SERVER}.image': 'expected NAME:TAG'},
    ),
    'an image with the tag latest': (
        [at_container('image', 'serving:latest')],
        {f'{SERVER}.image': 'other than latest'},
    ),
    'an image with half a digest': (
        [at_container('image', 'serving@sha256:0123')],
        {f'{SERVER}.image': 'DIGEST'},
    ),
    'no memory request': (
        [at_container('resources.requests.memory', REMOVE)],
        {f'{SERVER}.resources.requests': 'memory is missing: expected an amount, e.g. 512Mi'},
    ),
    'no limits': (
        [at_container('resources.limits', REMOVE)],
        {
            f'{SERVER}.resources.limits': '(cpu|memory) is missing',
            f'{SERVER}.resources.requests[nvidia.com/gpu]': r'is not the limit \(none\)',
        },
    ),
    'a request above its limit': (
        [at_container('resources.requests.memory', '2049Mi')],
        {f'{SERVER}.resources.requests[memory]': '2049Mi is above the limit 2Gi'},
    ),
    'a GPU limit that differs from the request': (
        [change('Deployment', (*CONTAINER, 'resources', 'limits', 'nvidia.com/gpu'), '2')],
        {f'{SERVER}.resources.requests[nvidia.com/gpu]': 'make them equal'},
    ),
    'no readiness probe': (
        [at_container('readinessProbe', REMOVE)],
        {
            f'{SERVER}.readinessProbe': 'is missing',
            f'{SERVER}.readinessProbe.httpGet.path': 'expected /v1/models/NAME',
        },
    ),
    'no liveness probe': (
        [at_container('livenessProbe', REMOVE)],
        {f'{SERVER}.livenessProbe': 'is missing'},
    ),
    'a probe of a port with an unknown name': (
        [at_container('readinessProbe.httpGet.port', 'rest')],
        {
            f'{SERVER}.readinessProbe.httpGet.port': (
                'rest: the container has no such port: expected one of 8500, 8501, grpc, http'
            )
        },
    ),
    'a probe of a port with an unknown number': (
        [at_container('livenessProbe.tcpSocket.port', 9000)],
        {f'{SERVER}.livenessProbe.tcpSocket.port': '9000'},
    ),
    'a job without a deadline': (
        [change('CronJob', 'spec.jobTemplate.spec.activeDeadlineSeconds', REMOVE)],
        {'spec.jobTemplate.spec.activeDeadlineSeconds': 'is missing'},
    ),
    'an invalid schedule': (
        [change('CronJob', 'spec.schedule', '0 24 * * *')],
        {'spec.schedule': '24 is not a valid hour'},
    ),
    'an invalid time zone': (
        [change('CronJob', 'spec.timeZone', 'Europe/Bern')],
        {'spec.timeZone': "'Europe/Bern' is not a time zone"},
    ),
    'a minimum of replicas above the maximum': (
        [change('HorizontalPodAutoscaler', 'spec.minReplicas', 5)],
        {'spec.minReplicas': r'5 is above spec.maxReplicas \(4\)'},
    ),
    'an autoscaler without a metric': (
        [change('HorizontalPodAutoscaler', 'spec.metrics', REMOVE)],
        {'spec.metrics': 'is missing'},
    ),
    'an autoscaler on a resource that is not requested': (
        [
            change(
                'HorizontalPodAutoscaler',
                ('spec', 'metrics', 0, 'resource', 'name'),
                'ephemeral-storage',
            )
        ],
        {
            'spec.metrics[0].resource': (
                r'ephemeral-storage as a share.*Deployment server spec.*requests has none; '
                r'add it'
            )
        },
    ),
    'an autoscaler on a missing container': (
        [
            change(
                'HorizontalPodAutoscaler',
                ('spec', 'metrics', 0),
                {
                    'type': 'ContainerResource',
                    'containerResource': {
                        'name': 'cpu',
                        'container': 'web',
                        'target': {'type': 'Utilization', 'averageUtilization': 60},
                    },
                },
            )
        ],
        {'spec.metrics[0].containerResource': "no container 'web': expected one of server"},
    ),
    'a fixed number of replicas with an autoscaler': (
        [change('Deployment', 'spec.replicas', 3)],
        {'spec.replicas': 'server scales it: each apply would reset the number'},
    ),
    'two autoscalers for one deployment': (
        [
            more(
                '{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: '
                'second, namespace: shop}, '
                'spec: {minReplicas: 2, maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, '
                'kind: Deployment, name: server}, '
                'metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, '
                'averageUtilization: 50}}}]}}'
            )
        ],
        {'spec.scaleTargetRef': 'server already scales'},
    ),
    'a budget that allows no eviction': (
        [change('PodDisruptionBudget', 'spec.maxUnavailable', 0)],
        {'spec.maxUnavailable': '0 blocks every eviction when Deployment server has 2 pods'},
    ),
    'a budget that requires the minimum of replicas': (
        [
            change(
                'PodDisruptionBudget',
                'spec',
                {'minAvailable': 2, 'selector': {'matchLabels': {'app': 'server'}}},
            )
        ],
        {'spec.minAvailable': '2 blocks every eviction when Deployment server has 2 pods'},
    ),
    'a budget with a share that rounds up to all pods': (
        [
            change(
                'PodDisruptionBudget',
                'spec',
                {'minAvailable': '51%', 'selector': {'matchLabels': {'app': 'server'}}},
            )
        ],
        {'spec.minAvailable': '51% blocks every eviction'},
    ),
    'a budget with both numbers': (
        [change('PodDisruptionBudget', 'spec.minAvailable', 1)],
        {'spec': 'has minAvailable and maxUnavailable: expected one'},
    ),
    'a rollout that can replace nothing': (
        [
            change(
                'Deployment', 'spec.strategy.rollingUpdate', {'maxSurge': 0, 'maxUnavailable': '0%'}
            )
        ],
        {'spec.strategy.rollingUpdate': 'are both 0'},
    ),
    'the network of the host': (
        [change('Deployment', f'{POD}.hostNetwork', True)],
        {f'{POD}.hostNetwork': 'expected false'},
    ),
    'the processes of the host': (
        [change('Deployment', f'{POD}.hostPID', True)],
        {f'{POD}.hostPID': 'expected false'},
    ),
    'a folder of the host': (
        [
            change(
                'Deployment',
                (*POD.split('.'), 'volumes', 1),
                {'name': 'models', 'hostPath': {'path': '/models'}},
            )
        ],
        {f'{POD}.volumes[models]': 'is of kind hostPath: expected one of configMap, csi'},
    ),
    'an unsafe sysctl': (
        [
            change(
                'Deployment',
                f'{POD}.securityContext.sysctls',
                [{'name': 'kernel.msgmax', 'value': '1'}],
            )
        ],
        {f'{POD}.securityContext.sysctls': 'kernel.msgmax is not a safe sysctl'},
    ),
    'a container that may run as root': (
        [change('Deployment', f'{POD}.securityContext.runAsNonRoot', REMOVE)],
        {f'{SERVER}.securityContext.runAsNonRoot': 'is None: expected true'},
    ),
    'a container that overrides runAsNonRoot': (
        [at_container('securityContext.runAsNonRoot', False)],
        {f'{SERVER}.securityContext.runAsNonRoot': 'is False: expected true'},
    ),
    'the user root': (
        [change('Deployment', f'{POD}.securityContext.runAsUser', 0)],
        {f'{POD}.securityContext.runAsUser': 'is 0, which is root'},
    ),
    'no seccomp profile': (
        [change('Deployment', f'{POD}.securityContext.seccompProfile', REMOVE)],
        {f'{SERVER}.securityContext.seccompProfile.type': 'is None: expected RuntimeDefault'},
    ),
    'an unconfined container': (
        [at_container('securityContext.seccompProfile', {'type': 'Unconfined'})],
        {f'{SERVER}.securityContext.seccompProfile.type': 'is Unconfined'},
    ),
    'privileges that can grow': (
        [at_container('securityContext.allowPrivilegeEscalation', REMOVE)],
        {f'{SERVER}.securityContext.allowPrivilegeEscalation': 'expected false'},
    ),
    'a privileged container': (
        [at_container('securityContext.privileged', True)],
        {f'{SERVER}.securityContext.privileged': 'expected false'},
    ),
    'capabilities that are not dropped': (
        [at_container('securityContext.capabilities', {'drop': ['NET_RAW']})],
        {f'{SERVER}.securityContext.capabilities.drop': r'drops NET_RAW: expected drop: \[ALL\]'},
    ),
    'capabilities that are added': (
        [at_container('securityContext.capabilities.add', ['NET_BIND_SERVICE', 'SYS_TIME'])],
        {f'{SERVER}.securityContext.capabilities.add': 'adds SYS_TIME'},
    ),
    'a writable root file system': (
        [at_container('securityContext.readOnlyRootFilesystem', REMOVE)],
        {f'{SERVER}.securityContext.readOnlyRootFilesystem': 'mount an emptyDir'},
    ),
    'an unmasked /proc': (
        [at_container('securityContext.procMount', 'Unmasked')],
        {f'{SERVER}.securityContext.procMount': 'expected Default'},
    ),
    'no AppArmor': (
        [at_container('securityContext.appArmorProfile', {'type': 'Unconfined'})],
        {f'{SERVER}.securityContext.appArmorProfile.type': 'is Unconfined'},
    ),
    'another SELinux user': (
        [at_container('securityContext.seLinuxOptions', {'user': 'system_u'})],
        {f'{SERVER}.securityContext.seLinuxOptions': 'expected no user, no role'},
    ),
    'a host process on Windows': (
        [at_container('securityContext.windowsOptions', {'hostProcess': True})],
        {f'{SERVER}.securityContext.windowsOptions.hostProcess': 'expected false'},
    ),
    'a port of the host': (
        [change('Deployment', (*CONTAINER, 'ports', 0, 'hostPort'), 8501)],
        {f'{SERVER}.ports[http].hostPort': 'is 8501'},
    ),
    'a probe of another host': (
        [at_container('livenessProbe.tcpSocket.host', '10.0.0.1')],
        {f'{SERVER}.livenessProbe.tcpSocket.host': 'is 10.0.0.1'},
    ),
    'a hook that calls another host': (
        [at_container('lifecycle', {'preStop': {'httpGet': {'host': '10.0.0.1', 'port': 'http'}}})],
        {f'{SERVER}.lifecycle.preStop.httpGet.host': 'is 10.0.0.1'},
    ),
    'a privileged init container without resources': (
        [
            change(
                'Deployment',
                f'{POD}.initContainers',
                [{'name': 'setup', 'image': 'setup:1', 'securityContext': {'privileged': True}}],
            )
        ],
        {
            f'{POD}.initContainers[setup].resources.requests': '(cpu|memory) is missing',
            f'{POD}.initContainers[setup].resources.limits': '(cpu|memory) is missing',
            f'{POD}.initContainers[setup].securityContext.allowPrivilegeEscalation': (
                'expected false'
            ),
            f'{POD}.initContainers[setup].securityContext.privileged': 'expected false',
            f'{POD}.initContainers[setup].securityContext.capabilities.drop': 'expected drop',
            f'{POD}.initContainers[setup].securityContext.readOnlyRootFilesystem': 'expected true',
        },
    ),
    'a model configuration outside the mounts': (
        [change('Deployment', (*ARGS, 2), '--model_config_file=/etc/serving/models.config')],
        {
            f'{SERVER}.args[--model_config_file]': (
                '/etc/serving/models.config: no mounted config map'
            )
        },
    ),
    'a port on which TF Serving does not listen': (
        [change('Deployment', (*ARGS, 0), '--port=8600')],
        {f'{SERVER}.ports[grpc]': '8500: TF Serving listens on 8501, 8600'},
    ),
    'an invalid model configuration': (
        [models('model_config_list { confg { } }')],
        {f'{SERVER}.args[--model_config_file]': 'confg'},
    ),
    'no model': (
        [models('# nothing yet')],
        {
            f'{SERVER}.args[--model_config_file]': 'has no model',
            f'{SERVER}.readinessProbe.httpGet.path': 'expected /v1/models/NAME',
        },
    ),
    'a label of a version that is not loaded': (
        [models(MODEL % f'{SPECIFIC} version_labels {{ key: "stable" value: 4 }}')],
        {
            f'{SERVER}.args[--model_config_file]': (
                r"label 'stable' points to 4, which is not loaded \(5\)"
            )
        },
    ),
    'a label that a URL cannot contain': (
        [
            models(
                MODEL
                % (
                    f'{SPECIFIC} version_labels {{ key: "stable" value: 5 }} '
                    'version_labels { key: "blue-green" value: 5 }'
                )
            )
        ],
        {
            f'{SERVER}.args[--model_config_file]': (
                "label 'blue-green': expected letters, digits and _"
            )
        },
    ),
    'a model configuration without fixed versions': (
        [
            models(
                MODEL
                % (
                    'model_version_policy { latest { num_versions: 1 } } '
                    'version_labels { key: "stable" value: 5 }'
                )
            )
        ],
        {f'{SERVER}.args[--model_config_file]': 'no versions: expected model_version_policy'},
    ),
    'a model outside the mounts': (
        [
            models(
                (MODEL % f'{SPECIFIC} version_labels {{ key: "stable" value: 5 }}').replace(
                    '/models/', '/srv/'
                )
            )
        ],
        {
            f'{SERVER}.args[--model_config_file]': (
                r"base_path '/srv/triage' is neither gs:// nor below .*\(/etc/server, "
                r'/models\)'
            )
        },
    ),
    'labels that TF Serving refuses at start-up': (
        [change('Deployment', (*ARGS, 4), REMOVE)],
        {f'{SERVER}.args[--allow_version_labels_for_unavailable_models]': 'is None: expected true'},
    ),
    'a readiness probe of another model': (
        [at_container('readinessProbe.httpGet.path', '/v1/models/other')],
        {f'{SERVER}.readinessProbe.httpGet.path': r"'/v1/models/other': expected .*\(triage\)"},
    ),
    'a readiness probe of another label': (
        [at_container('readinessProbe.httpGet.path', '/v1/models/triage/labels/green/metadata')],
        {f'{SERVER}.readinessProbe.httpGet.path': "no label 'green': expected one of stable"},
    ),
    'a damaged version that blocks the others longer than the startup probe waits': (
        [
            at_container(
                'startupProbe',
                {'tcpSocket': {'port': 8500}, 'periodSeconds': 5, 'failureThreshold': 60},
            )
        ],
        {
            f'{SERVER}.args[--load_retry_interval_micros]': (
                'keep all ports closed for 300 s, and startupProbe waits 300 s'
            )
        },
    ),
    'a log level that hides the loaded version': (
        [at_container('env', [{'name': 'TF_CPP_MIN_LOG_LEVEL', 'value': '1'}])],
        {f'{SERVER}.env[TF_CPP_MIN_LOG_LEVEL]': 'is 1: it hides the log line'},
    ),
    'metrics at another path in an annotation': (
        [
            change(
                'Deployment',
                ('spec', 'template', 'metadata', 'annotations', 'prometheus.io/path'),
                '/metric',
            )
        ],
        {
            'spec.template.metadata.annotations[prometheus.io/path]': (
                '/metric: TF Serving answers at /metrics'
            )
        },
    ),
    'metrics at another path in a PodMonitoring': (
        [change('PodMonitoring', ('spec', 'endpoints', 0, 'path'), '/metric')],
        {'spec.endpoints[0].path': '/metric: TF Serving answers at /metrics'},
    ),
    'a gateway with the address of no model server, and with a database of its own': (
        [
            change(
                'CronJob',
                (*JOB_POD.split('.'), 'containers', 0, 'command'),
                ['python', '-m', 'cxr_triage', 'serve', '--model-server=grpc://server:8501'],
            )
        ],
        {
            f'{JOB_POD}.containers[job].args[--model-server]': (
                r'no service has that address: expected one of .*grpc://server:8500'
            ),
            f'{JOB_POD}.containers[job].env[CXR_DATABASE]': 'expected the URL',
        },
    ),
    'a gateway without a model server': (
        [
            change(
                'CronJob',
                (*JOB_POD.split('.'), 'containers', 0, 'command'),
                ['python', '-m', 'cxr_triage', 'serve'],
            )
        ],
        {
            f'{JOB_POD}.containers[job].args[--model-server]': 'is missing',
            f'{JOB_POD}.containers[job].env[CXR_DATABASE]': 'expected the URL',
        },
    ),
}
