{{- define "bridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* Short enough for -commands, -setup and -check behind it. */ -}}
{{- define "bridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "bridge.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "bridge.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bridge.selector" -}}
app.kubernetes.io/name: {{ include "bridge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bridge.labels" -}}
{{ include "bridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* What runs: JSON list of component, name, and the side it is restricted to. */ -}}
{{- define "bridge.workloads" -}}
{{- $name := include "bridge.fullname" . -}}
{{- if .Values.separateCommands -}}
{{- list (dict "component" "events" "name" (printf "%s-events" $name) "only" "events") (dict "component" "commands" "name" (printf "%s-commands" $name) "only" "commands") | toJson -}}
{{- else -}}
{{- list (dict "component" "bridge" "name" $name "only" "") | toJson -}}
{{- end -}}
{{- end -}}

{{- define "bridge.image" -}}
{{- $repository := required "image.repository: say where you pushed the image" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "bridge.opsPort" -}}
{{- dig "ops" "port" 9464 .Values.config | int -}}
{{- end -}}

{{- /* As docs/OPERATIONS.md says: a request, a transaction and ten seconds. */ -}}
{{- define "bridge.grace" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $request := dig "api" "timeout" 30 .Values.config | float64 -}}
{{- $transaction := dig "kafka" "transaction_timeout" 60 .Values.config | float64 -}}
{{- addf $request $transaction 10 | ceil | int -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds | int -}}
{{- end -}}
{{- end -}}

{{- define "bridge.secretsFolder" -}}/var/run/mission-bridge{{- end -}}

{{- /* bridge.toml: the settings, and where each source's key is mounted. */ -}}
{{- define "bridge.toml" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := required "config.kafka.bootstrap_servers: name the brokers" $config.kafka.bootstrap_servers -}}
{{- $_ := required "config.registry.url: say where the schema registry is" $config.registry.url -}}
{{- $known := list -}}
{{- range $config.sources -}}
{{- $known = append $known .name -}}
{{- if hasKey $.Values.sourceKeys .name -}}
{{- $_ := set . "api_key_file" (printf "%s/sources/%s" (include "bridge.secretsFolder" $) .name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.sourceKeys -}}
{{- if not (has $name $known) -}}
{{- fail (printf "sourceKeys.%s: config.sources has no source of this name" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $config.sources $config.source -}}
{{- fail "config.source: cannot be beside config.sources" -}}
{{- end -}}
{{- toToml $config -}}
{{- end -}}

{{- define "bridge.env" -}}
- {name: BRIDGE_OPS__HOST, value: {{ dig "ops" "host" "0.0.0.0" .Values.config | quote }}}
{{- range $variable, $_ := .Values.secrets }}
- {name: {{ $variable }}, value: {{ printf "%s/%s" (include "bridge.secretsFolder" $) $variable | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bridge.projection" -}}
{{- $ref := .ref -}}
{{- if $ref.secret }}
- secret:
    name: {{ $ref.secret }}
{{- else }}
- configMap:
    name: {{ $ref.configMap }}
{{- end }}
    items: [{key: {{ $ref.key | quote }}, path: {{ .path | quote }}}]
{{- end -}}

{{- /* Volumes of every pod; takes the root and the name of the ConfigMap. */ -}}
{{- define "bridge.volumes" -}}
- name: config
  configMap:
    name: {{ .configMap }}
{{- if or .root.Values.secrets .root.Values.sourceKeys }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range $variable, $ref := .root.Values.secrets }}
      {{- include "bridge.projection" (dict "ref" $ref "path" $variable) | nindent 6 }}
    {{- end }}
    {{- range $name, $ref := .root.Values.sourceKeys }}
      {{- include "bridge.projection" (dict "ref" $ref "path" (printf "sources/%s" $name)) | nindent 6 }}
    {{- end }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What every container has; the command follows. */ -}}
{{- define "bridge.container" -}}
image: {{ include "bridge.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "bridge.env" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - {name: config, mountPath: /etc/mission-bridge, readOnly: true}
  {{- if or .Values.secrets .Values.sourceKeys }}
  - {name: secrets, mountPath: {{ include "bridge.secretsFolder" . }}, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "bridge.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
