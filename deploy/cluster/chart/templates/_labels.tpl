{{- define "ptp-harness.labels" -}}
{{ toYaml (merge (dict "app.kubernetes.io/name" "ptp-harness") .Values.labels) }}
{{- end }}
